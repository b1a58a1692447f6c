//! Makes Envoy configurations: one listener, our filter, the router, and the clusters that it needs.
//!
//! The defaults are those that farebox's shipped configurations have; a test changes the fields it is about, and
//! what has no field it edits in the [`Value`] that [`Config::build`] gives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::process::free_port;

/// The cluster that requests go on to.
pub const UPSTREAM: &str = "upstream";
/// The cluster that payments are verified and settled at.
pub const FACILITATOR: &str = "facilitator";
/// The cluster that a chain is asked through.
pub const RPC: &str = "rpc";

/// What an Envoy is to be like.
#[derive(Clone, Debug)]
pub struct Config {
    /// Port of the listener on 127.0.0.1.
    pub port: u16,
    /// Port of the admin interface on 127.0.0.1.
    pub admin_port: u16,
    /// The wasm filters, in order, before the router.
    pub filters: Vec<WasmFilter>,
    /// Cluster names and their ports on 127.0.0.1.
    pub clusters: Vec<(String, u16)>,
    /// The longest that an exchange may take from the end of the request to the end of the response; `None`: no limit.
    pub route_timeout: Option<Duration>,
    /// The longest that a stream may be silent; `None`: Envoy's own 5 minutes.
    pub stream_idle_timeout: Option<Duration>,
    /// The longest that connecting to a cluster may take.
    pub connect_timeout: Duration,
    /// Whether the peer's address is the client's.
    pub use_remote_address: bool,
    /// Whether `.` and `..` segments are resolved before routing.
    pub normalize_path: bool,
    /// Whether `//` becomes `/` before routing.
    pub merge_slashes: bool,
    /// What happens to `%2F` and `%5C` in a path: an Envoy enum value.
    pub path_with_escaped_slashes_action: String,
    /// What happens to headers whose names have underscores: an Envoy enum value.
    pub headers_with_underscores_action: String,
    /// Metadata of the one route, `{"<namespace>": {…}}`, which a filter may read.
    pub route_metadata: Option<Value>,
    /// Regular expressions that take tags out of names of statistics: (tag, expression).
    pub stats_tags: Vec<(String, String)>,
    /// A file that gets one JSON line for each exchange: see [`access_log_fields`].
    pub access_log: Option<PathBuf>,
}

/// One wasm filter.
#[derive(Clone, Debug)]
pub struct WasmFilter {
    /// The plugin's name and root id.
    pub name: String,
    /// Filters of one VM id and one code share their VM and their data.
    pub vm_id: String,
    /// The `.wasm` file.
    pub wasm: PathBuf,
    /// What the filter reads as its configuration.
    pub configuration: Configuration,
    /// `FAIL_RELOAD`, `FAIL_CLOSED` or `FAIL_OPEN`.
    pub failure_policy: String,
    /// Whether a filter that holds the headers also holds the body: needed to read request bodies first.
    pub allow_on_headers_stop_iteration: bool,
    /// Names of variables of Envoy's environment that the filter can read.
    pub host_env_keys: Vec<String>,
}

/// A filter's configuration.
#[derive(Clone, Debug)]
pub enum Configuration {
    /// A text, as it is (`google.protobuf.StringValue`).
    Text(String),
    /// A structure, which Envoy gives to the filter as JSON (`google.protobuf.Struct`): what operators write as YAML.
    Struct(Value),
}

impl Config {
    /// A proxy on free ports, without filters, in front of an upstream on this port of 127.0.0.1.
    ///
    /// # Errors
    /// If no port is free.
    pub fn new(upstream_port: u16) -> Result<Self> {
        Ok(Self {
            port: free_port()?,
            admin_port: free_port()?,
            filters: Vec::new(),
            clusters: vec![(UPSTREAM.to_owned(), upstream_port)],
            route_timeout: Some(Duration::from_secs(60)),
            stream_idle_timeout: None,
            connect_timeout: Duration::from_secs(2),
            use_remote_address: true,
            normalize_path: true,
            merge_slashes: true,
            path_with_escaped_slashes_action: "KEEP_UNCHANGED".to_owned(),
            headers_with_underscores_action: "REJECT_REQUEST".to_owned(),
            route_metadata: None,
            stats_tags: Vec::new(),
            access_log: None,
        })
    }

    /// With one more cluster, on a port of 127.0.0.1.
    #[must_use]
    pub fn cluster(mut self, name: &str, port: u16) -> Self {
        self.clusters.push((name.to_owned(), port));
        self
    }

    /// With one more filter, after those there are.
    #[must_use]
    pub fn filter(mut self, filter: WasmFilter) -> Self {
        self.filters.push(filter);
        self
    }

    /// With an access log.
    #[must_use]
    pub fn access_log(mut self, file: impl Into<PathBuf>) -> Self {
        self.access_log = Some(file.into());
        self
    }

    /// The base URL that clients use, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The bootstrap configuration.
    pub fn build(&self) -> Value {
        let mut bootstrap = json!({
            "admin": { "address": address(self.admin_port) },
            "static_resources": {
                "listeners": [{
                    "name": "main",
                    "address": address(self.port),
                    "filter_chains": [{ "filters": [self.connection_manager()] }],
                }],
                "clusters": self.clusters.iter().map(|(name, port)| self.build_cluster(name, *port)).collect::<Vec<_>>(),
            },
        });
        if !self.stats_tags.is_empty() {
            let tags = self.stats_tags.iter().map(|(tag, regex)| json!({ "tag_name": tag, "regex": regex }));
            bootstrap["stats_config"] = json!({ "stats_tags": tags.collect::<Vec<_>>() });
        }
        bootstrap
    }

    /// [`Config::build`] as text.
    pub fn to_text(&self) -> String {
        format!("{:#}", self.build())
    }

    fn connection_manager(&self) -> Value {
        let mut manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "main",
            "codec_type": "AUTO",
            "use_remote_address": self.use_remote_address,
            "normalize_path": self.normalize_path,
            "merge_slashes": self.merge_slashes,
            "path_with_escaped_slashes_action": self.path_with_escaped_slashes_action,
            "common_http_protocol_options": {
                "headers_with_underscores_action": self.headers_with_underscores_action,
            },
            "route_config": {
                "name": "main",
                "virtual_hosts": [{ "name": "main", "domains": ["*"], "routes": [self.route()] }],
            },
            "http_filters": self.http_filters(),
        });
        if let Some(timeout) = self.stream_idle_timeout {
            manager["stream_idle_timeout"] = duration(timeout);
        }
        if let Some(file) = &self.access_log {
            manager["access_log"] = json!([file_access_log(file)]);
        }
        json!({ "name": "envoy.filters.network.http_connection_manager", "typed_config": manager })
    }

    fn route(&self) -> Value {
        let mut route = json!({
            "name": "main",
            "match": { "prefix": "/" },
            "route": {
                "cluster": UPSTREAM,
                "timeout": duration(self.route_timeout.unwrap_or(Duration::ZERO)),
            },
        });
        if let Some(metadata) = &self.route_metadata {
            route["metadata"] = json!({ "filter_metadata": metadata });
        }
        route
    }

    fn http_filters(&self) -> Vec<Value> {
        let router = json!({
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        });
        self.filters.iter().map(WasmFilter::build).chain([router]).collect()
    }

    fn build_cluster(&self, name: &str, port: u16) -> Value {
        json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": duration(self.connect_timeout),
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(port) } }] }],
            },
        })
    }
}

impl WasmFilter {
    /// A filter that fails closed and is reloaded after a trap, with its own VM id.
    pub fn new(name: &str, wasm: impl Into<PathBuf>, configuration: Configuration) -> Self {
        Self {
            name: name.to_owned(),
            vm_id: name.to_owned(),
            wasm: wasm.into(),
            configuration,
            failure_policy: "FAIL_RELOAD".to_owned(),
            allow_on_headers_stop_iteration: false,
            host_env_keys: Vec::new(),
        }
    }

    /// With the environment variable of this name.
    #[must_use]
    pub fn host_env_key(mut self, name: &str) -> Self {
        self.host_env_keys.push(name.to_owned());
        self
    }

    /// With or without `allow_on_headers_stop_iteration`.
    #[must_use]
    pub fn stop_iteration(mut self, allowed: bool) -> Self {
        self.allow_on_headers_stop_iteration = allowed;
        self
    }

    /// The filter as an element of `http_filters`.
    pub fn build(&self) -> Value {
        let mut vm = json!({
            "vm_id": self.vm_id,
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": self.wasm } },
        });
        if !self.host_env_keys.is_empty() {
            vm["environment_variables"] = json!({ "host_env_keys": self.host_env_keys });
        }
        let mut plugin = json!({
            "name": self.name,
            "root_id": self.name,
            "vm_config": vm,
            "configuration": self.configuration.build(),
            "failure_policy": self.failure_policy,
        });
        if self.allow_on_headers_stop_iteration {
            plugin["allow_on_headers_stop_iteration"] = json!(true);
        }
        json!({
            "name": format!("envoy.filters.http.wasm.{}", self.name),
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": plugin,
            },
        })
    }
}

impl Configuration {
    fn build(&self) -> Value {
        match self {
            Self::Text(text) => {
                json!({ "@type": "type.googleapis.com/google.protobuf.StringValue", "value": text })
            }
            Self::Struct(value) => {
                json!({ "@type": "type.googleapis.com/google.protobuf.Struct", "value": value })
            }
        }
    }
}

/// The expressions that make Prometheus labels of what is in the names of farebox's statistics; those of the shipped
/// configurations.
pub fn farebox_stats_tags() -> Vec<(String, String)> {
    let tag = |name: &str, regex: &str| (name.to_owned(), regex.to_owned());
    vec![
        tag("route", r"^wasmcustom\.farebox_exchanges_total(\.route\.([^.]+))"),
        tag("decision", r"^wasmcustom\.farebox_exchanges_total\.route\.[^.]+(\.decision\.([^.]+))"),
        tag("kind", r"^wasmcustom\.farebox_callout[a-z_]+(\.kind\.([^.]+))"),
        tag("outcome", r"^wasmcustom\.farebox_callouts_total\.kind\.[^.]+(\.outcome\.([^.]+))"),
        tag("facilitator", r"^wasmcustom\.farebox_breaker_[a-z_]+(\.facilitator\.([^.]+))"),
        tag(
            "state",
            r"^wasmcustom\.farebox_(?:claims_total|breaker_transitions_total\.facilitator\.[^.]+)(\.state\.([^.]+))",
        ),
    ]
}

/// The fields of an access log line, and the format that each is made by. What the filter knows comes from the
/// filter state that it sets; a value that is not there is null.
pub fn access_log_fields() -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("method", "%REQ(:METHOD)%".to_owned()),
        ("path", "%REQ(:PATH)%".to_owned()),
        ("status", "%RESPONSE_CODE%".to_owned()),
        ("details", "%RESPONSE_CODE_DETAILS%".to_owned()),
        ("flags", "%RESPONSE_FLAGS%".to_owned()),
        ("duration_ms", "%DURATION%".to_owned()),
        ("upstream", "%UPSTREAM_HOST%".to_owned()),
    ];
    for name in ["payer", "route", "decision", "amount", "transaction"] {
        fields.push((name, format!("%FILTER_STATE(wasm.farebox.{name}:PLAIN)%")));
    }
    fields
}

fn file_access_log(file: &Path) -> Value {
    let format: Map<String, Value> =
        access_log_fields().into_iter().map(|(name, format)| (name.to_owned(), json!(format))).collect();
    json!({
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": file,
            "log_format": { "json_format": format },
        },
    })
}

/// The lines that an access log has so far.
///
/// # Errors
/// If the file cannot be read, or a line is not JSON.
pub fn read_access_log(file: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))).collect()
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

/// Protobuf's JSON form of a duration.
fn duration(duration: Duration) -> Value {
    json!(format!("{}.{:03}s", duration.as_secs(), duration.subsec_millis()))
}
