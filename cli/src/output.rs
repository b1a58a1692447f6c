//! What a command has to say, and how it is said.

use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::process::ExitCode;

/// What came of a command.
pub(crate) struct Outcome {
    /// Whether it is good.
    pub(crate) good: bool,
    /// For people.
    pub(crate) text: String,
    /// For machines; `ok` is added.
    pub(crate) json: Map<String, Value>,
}

impl Outcome {
    pub(crate) fn new(good: bool, text: impl Into<String>, json: Value) -> Self {
        let json = match json {
            Value::Object(members) => members,
            other => Map::from_iter([("value".to_owned(), other)]),
        };
        Self { good, text: text.into(), json }
    }

    /// Something that is not good, for a stable `reason`.
    pub(crate) fn refused(reason: &str, detail: impl fmt::Display) -> Self {
        let detail = detail.to_string();
        Self::new(false, format!("refused: {detail}"), serde_json::json!({ "reason": reason, "detail": detail }))
    }

    pub(crate) fn print(mut self, json: bool) -> ExitCode {
        let text = if json {
            self.json.insert("ok".to_owned(), self.good.into());
            Value::Object(self.json).to_string()
        } else {
            self.text
        };
        // Whoever has stopped reading has seen enough.
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
        ExitCode::from(u8::from(!self.good))
    }
}

/// Why a command cannot be run.
pub(crate) struct Usage(pub(crate) String);

impl Usage {
    pub(crate) fn new(message: impl fmt::Display) -> Self {
        Self(message.to_string())
    }
}

/// Lines of `name  value`, for people.
#[derive(Default)]
pub(crate) struct Table(String);

impl Table {
    pub(crate) fn row(&mut self, name: &str, value: impl fmt::Display) {
        let _ = writeln!(self.0, "{name:<12}{value}");
    }

    pub(crate) fn maybe(&mut self, name: &str, value: Option<impl fmt::Display>) {
        if let Some(value) = value {
            self.row(name, value);
        }
    }

    pub(crate) fn line(&mut self, text: impl fmt::Display) {
        let _ = writeln!(self.0, "{text}");
    }

    pub(crate) fn end(self) -> String {
        self.0
    }
}
