//! Hosts as data: what differs between them.

/// What a host does its own way.
#[derive(Clone, Debug)]
pub struct Profile {
    /// For messages.
    pub name: &'static str,
    /// Envoy's `allow_on_headers_stop_iteration`: `Pause` from a headers callback stops headers alone, and the body
    /// and trailers callbacks still come. One of them that returns `Continue` then lets everything go.
    pub body_iteration: bool,
    /// What a VM that trapped means for the requests after.
    pub on_trap: OnTrap,
    /// Bytes of a body that are buffered before the host refuses (413, 500) or, for `StopAllIterationAndWatermark`,
    /// pushes back on the sender.
    pub buffer_limit: usize,
    /// How the shared data behaves.
    pub shared_data: Dialect,
    /// Properties that do not depend on a stream; path segments are joined by `.`.
    pub properties: Vec<(&'static str, &'static str)>,
    /// Host calls that this host answers with status 12, `Unimplemented`.
    pub unimplemented: Vec<&'static str>,
}

/// What follows a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTrap {
    /// `FAIL_RELOAD`: the next request gets a new VM.
    Reload,
    /// `FAIL_CLOSED`: that worker answers 503 from then on.
    Closed,
    /// `FAIL_OPEN`: that worker lets everything pass from then on.
    Open,
}

/// How a shared data store behaves where hosts differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Version 0 overwrites whatever is there; any other version creates a missing key. Nothing is ever freed.
    Envoy,
}

impl Profile {
    /// Envoy 1.40 as it is by default, with `FAIL_RELOAD`.
    #[must_use]
    pub fn envoy() -> Self {
        Self {
            name: "envoy",
            body_iteration: false,
            on_trap: OnTrap::Reload,
            buffer_limit: 1 << 20,
            shared_data: Dialect::Envoy,
            properties: vec![
                ("xds.node.user_agent_name", "envoy"),
                ("plugin_name", "farebox"),
                ("plugin_root_id", "farebox"),
                ("plugin_vm_id", "farebox"),
            ],
            unimplemented: Vec::new(),
        }
    }

    /// Envoy 1.40 with `allow_on_headers_stop_iteration: true`.
    #[must_use]
    pub fn envoy_body_iteration() -> Self {
        Self { name: "envoy with body iteration", body_iteration: true, ..Self::envoy() }
    }
}
