//! Faults that `cargo xtask prove --self-check` switches on, to show that each claim can fail.
//!
//! They exist only in builds with the feature `mutants`, which nothing ships; elsewhere [`is`] is `false` at compile
//! time.

#[cfg(feature = "mutants")]
static CHOSEN: std::sync::OnceLock<String> = std::sync::OnceLock::new();

/// Switches a fault on, in hosts without an environment.
#[cfg(feature = "mutants")]
pub fn choose(name: String) {
    let _ = CHOSEN.set(name);
}

/// Whether the fault of this name is switched on.
#[cfg(feature = "mutants")]
pub(crate) fn is(name: &str) -> bool {
    CHOSEN.get().is_some_and(|mutant| mutant == name)
        || std::env::var("FAREBOX_MUTANT").is_ok_and(|mutant| mutant == name)
}

/// Whether the fault of this name is switched on: never in this build.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn is(_name: &str) -> bool {
    false
}
