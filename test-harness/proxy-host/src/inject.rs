//! Faults that a test puts into the boundary between host and guest.

/// Where a fault strikes. Counting starts when the fault is set; each strikes once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The n-th host call of any VM, from 1.
    Call(u64),
    /// The n-th call of this host function (`proxy_http_call`, `random_get`, …), from 1.
    Function(String, u64),
    /// The n-th time this callback (`proxy_on_http_call_response`, …) is about to run, from 1.
    Callback(String, u64),
}

/// What the fault does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The host call does nothing and returns this status. A callback is not called.
    Status(u32),
    /// The host call does its work and returns this status all the same. As [`Status`](Self::Status) in a callback.
    DoneBut(u32),
    /// The VM traps.
    Trap,
}

#[derive(Debug)]
pub(crate) struct Fault {
    at: At,
    effect: Effect,
    seen: u64,
}

/// The faults that are set, and the trace of host calls, if one is kept.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    set: Vec<Fault>,
    /// Host functions that [`At::Call`] does not strike with a status.
    pub(crate) spared: Vec<&'static str>,
    pub(crate) struck: u64,
    /// What struck where, until somebody asks.
    pub(crate) history: Vec<String>,
    pub(crate) trace: Option<Vec<(usize, &'static str)>>,
}

impl Faults {
    pub(crate) fn add(&mut self, at: At, effect: Effect) {
        self.set.push(Fault { at, effect, seen: 0 });
    }

    pub(crate) fn clear(&mut self) {
        self.set.clear();
    }

    pub(crate) fn on_call(&mut self, vm: usize, name: &'static str) -> Option<Effect> {
        if let Some(trace) = &mut self.trace {
            trace.push((vm, name));
        }
        let spared = self.spared.contains(&name);
        self.strike(name, |fault| match &fault.at {
            At::Call(_) if spared && fault.effect != Effect::Trap => None,
            At::Call(nth) => Some(*nth),
            At::Function(function, nth) => (function == name).then_some(*nth),
            At::Callback(..) => None,
        })
    }

    pub(crate) fn on_callback(&mut self, name: &str) -> Option<Effect> {
        self.strike(name, |fault| match &fault.at {
            At::Callback(callback, nth) => (callback == name).then_some(*nth),
            At::Call(_) | At::Function(..) => None,
        })
    }

    fn strike(&mut self, name: &str, concerns: impl Fn(&Fault) -> Option<u64>) -> Option<Effect> {
        let mut effect = None;
        self.set.retain_mut(|fault| {
            let Some(nth) = concerns(fault) else { return true };
            fault.seen += 1;
            if fault.seen < nth || effect.is_some() {
                return true;
            }
            effect = Some(fault.effect);
            false
        });
        if let Some(effect) = effect {
            self.struck += 1;
            self.history.push(format!("{name}: {effect:?}"));
        }
        effect
    }
}
