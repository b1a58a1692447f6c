//! What is wrong with a policy, said so that the operator can put it right without reading our code.

use std::fmt;

/// One thing wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where: `routes[2].offers[0].price`. Empty for the policy as a whole.
    pub path: String,
    /// What stands there, as the operator wrote it (shortened), or what is missing.
    pub found: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "policy" } else { &self.path };
        write!(f, "{path}: {}; {}", self.found, self.hint)
    }
}

/// Every mistake found in a policy, in the order of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// Adds one mistake.
    pub(crate) fn add(&mut self, path: impl Into<String>, found: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Mistake { path: path.into(), found: found.into(), hint: hint.into() });
    }

    /// A single mistake.
    pub(crate) fn one(path: impl Into<String>, found: impl Into<String>, hint: impl Into<String>) -> Self {
        let mut mistakes = Self::default();
        mistakes.add(path, found, hint);
        mistakes
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// `text` in quotes, shortened for a log line.
pub(crate) fn quoted(text: &str) -> String {
    const MAX: usize = 80;
    if text.chars().count() <= MAX {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(MAX).collect();
    format!("{head:?}…")
}
