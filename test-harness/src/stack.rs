//! A whole stack: chain, official facilitator, upstream, Envoy with a filter in it, official buyer.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;

use crate::envoy_config::{Config, Configuration, FACILITATOR, RPC, WasmFilter, farebox_stats_tags};
use crate::{Buyer, Chain, Envoy, EnvoyConfig, Facilitator, Tools, Upstream, accounts};

/// A last change to something.
pub type Change<T> = Box<dyn FnOnce(&mut T) + Send>;

/// Makes a policy from the origin that clients use (`http://127.0.0.1:<port>`).
pub type PolicyOf = Box<dyn FnOnce(&str) -> Value + Send>;

/// How a stack is to be.
pub struct Plan {
    /// The filter's `.wasm`.
    pub filter: PathBuf,
    /// The policy.
    pub policy: PolicyOf,
    /// Envoy's worker threads.
    pub workers: u32,
    /// Whether the policy is given as a structure (`Struct`), as in YAML, instead of as text.
    pub structured: bool,
    /// Envoy's `allow_on_headers_stop_iteration` for the filter.
    pub stop_iteration: bool,
    /// Variables of Envoy's environment that the filter may read.
    pub env: Vec<(String, String)>,
    /// Last changes to what Envoy's configuration is made from.
    pub adjust: Change<Config>,
    /// Last changes to Envoy's configuration itself.
    pub edit: Change<Value>,
}

impl Plan {
    /// Two workers, the policy as a structure.
    pub fn new(filter: impl Into<PathBuf>, policy: impl FnOnce(&str) -> Value + Send + 'static) -> Self {
        Self {
            filter: filter.into(),
            policy: Box::new(policy),
            workers: 2,
            structured: true,
            stop_iteration: false,
            env: Vec::new(),
            adjust: Box::new(|_| {}),
            edit: Box::new(|_| {}),
        }
    }

    /// With a variable of the environment that the filter may read.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a last change to what Envoy's configuration is made from.
    #[must_use]
    pub fn adjust(mut self, change: impl FnOnce(&mut Config) + Send + 'static) -> Self {
        self.adjust = Box::new(change);
        self
    }

    /// With a last change to Envoy's configuration itself.
    #[must_use]
    pub fn edit(mut self, change: impl FnOnce(&mut Value) + Send + 'static) -> Self {
        self.edit = Box::new(change);
        self
    }
}

/// What stands around a gate, whatever host it runs in: the parts that most tests look at.
pub struct Scene {
    /// Anvil with the token.
    pub chain: Chain,
    /// The official facilitator.
    pub facilitator: Facilitator,
    /// The upstream.
    pub upstream: Upstream,
    /// The official client.
    pub buyer: Buyer,
    /// Where clients find the gate: `http://127.0.0.1:<port>`.
    pub origin: String,
}

impl Scene {
    /// The URL of a path at the gate.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}

/// A running stack. Everything in it ends when it is dropped.
pub struct Stack {
    scene: Scene,
    /// Envoy with the filter.
    pub envoy: Envoy,
    /// What Envoy was configured with.
    pub config: Config,
    /// Envoy's access log, one JSON object a line.
    pub access_log: PathBuf,
    _dir: TempDir,
}

impl Stack {
    /// Starts everything and waits until it is ready.
    ///
    /// # Errors
    /// If a part does not start.
    pub async fn start(tools: &Tools, plan: Plan) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("farebox-stack-").tempdir()?;
        let chain = Chain::start(tools).await?;
        let facilitator = Facilitator::start(tools, &chain).await?;
        let upstream = Upstream::start()?;
        let access_log = dir.path().join("access.log");
        let mut config = Config::new(upstream.port())?
            .cluster(FACILITATOR, facilitator.port())
            .cluster(RPC, chain.port())
            .access_log(&access_log);
        config.stats_tags = farebox_stats_tags();
        (plan.adjust)(&mut config);
        let policy = (plan.policy)(&config.url());
        let configuration =
            if plan.structured { Configuration::Struct(policy) } else { Configuration::Text(policy.to_string()) };
        let mut filter = WasmFilter::new("farebox", plan.filter, configuration).stop_iteration(plan.stop_iteration);
        for (name, _) in &plan.env {
            filter = filter.host_env_key(name);
        }
        config = config.filter(filter);
        let mut bootstrap = config.build();
        (plan.edit)(&mut bootstrap);
        let mut envoy = EnvoyConfig::new(format!("{bootstrap:#}")).concurrency(plan.workers);
        for (name, value) in &plan.env {
            envoy = envoy.env(name, value);
        }
        let envoy = Envoy::start(tools, envoy).await?;
        let buyer = Buyer::start(tools, accounts::BUYER).await?;
        let scene = Scene { chain, facilitator, upstream, buyer, origin: config.url() };
        Ok(Self { scene, envoy, config, access_log, _dir: dir })
    }
}

impl Deref for Stack {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

impl DerefMut for Stack {
    fn deref_mut(&mut self) -> &mut Scene {
        &mut self.scene
    }
}

/// A route of a policy that costs $0.01, with further fields, or other values of them.
pub fn priced(name: &str, path: &str, more: Value) -> Value {
    let mut route = serde_json::json!({
        "name": name, "path": path, "description": name, "mime_type": "application/json",
        "response_timeout_seconds": 30,
        "offers": [{ "price": "$0.01", "network": crate::chain::NETWORK, "max_timeout_seconds": 120 }]
    });
    if let (Some(route), Value::Object(more)) = (route.as_object_mut(), more) {
        route.extend(more);
    }
    route
}

/// The policy of most tests: one route of each kind, priced $0.01 unless its name says otherwise.
pub fn test_policy(origin: &str) -> Value {
    let none = || serde_json::json!({});
    serde_json::json!({
        "version": 1,
        "origins": [origin],
        "default": "denied",
        "payees": { crate::chain::NETWORK: accounts::PAYEE.address },
        "facilitators": [{ "name": "official", "url": "http://facilitator.local", "cluster": FACILITATOR }],
        "routes": [
            priced("after", "/plain/after", none()),
            priced("before", "/plain/before", serde_json::json!({ "settle": "before" })),
            priced("users", "/plain/users/{id}", none()),
            priced("dear", "/plain/dear", serde_json::json!({
                "offers": [{ "price": "$0.02", "network": crate::chain::NETWORK, "max_timeout_seconds": 120 }] })),
            priced("slow", "/slow", none()),
            priced("fail", "/fail", none()),
            priced("fail-before", "/fail/before", serde_json::json!({ "settle": "before" })),
            priced("redirect", "/redirect", none()),
            priced("reset", "/reset", none()),
            priced("stream", "/stream", none()),
            priced("large", "/large", none()),
            priced("upload", "/upload", none()),
            { "name": "free", "path": "/plain/free", "access": "free" },
            { "name": "denied", "path": "/plain/denied", "access": "denied" }
        ]
    })
}

/// [`test_policy`] for faults: short timeouts, a node to ask, a route that settles before for any id, routes that are
/// paid by Permit2, and no limits on what goes wrong.
pub fn fault_policy(origin: &str) -> Value {
    let mut policy = test_policy(origin);
    policy["facilitators"][0]["verify_timeout_seconds"] = serde_json::json!(2);
    policy["facilitators"][0]["settle_timeout_seconds"] = serde_json::json!(2);
    policy["facilitators"][0]["breaker"] = serde_json::json!({ "failures": 1000, "open_seconds": 1 });
    policy["rpc"] =
        serde_json::json!([{ "network": crate::chain::NETWORK, "url": "http://rpc.local", "cluster": RPC }]);
    policy["limits"] = serde_json::json!({
        "challenges_per_second": 0, "failed_payments_per_minute": 0, "uncharged_forwards_per_minute": 0
    });
    if let Some(routes) = policy["routes"].as_array_mut() {
        let mut before = routes[0].clone();
        before["name"] = "prepaid".into();
        before["path"] = "/plain/prepaid/{id}".into();
        before["settle"] = "before".into();
        routes.push(before);
        let permit2 = serde_json::json!([{ "price": "$0.01", "network": crate::chain::NETWORK,
            "max_timeout_seconds": 120, "transfer_method": "permit2" }]);
        let upto = serde_json::json!([{ "price": "$0.02", "network": crate::chain::NETWORK,
            "max_timeout_seconds": 120, "scheme": "upto" }]);
        for settle in ["after", "before"] {
            let more = serde_json::json!({ "settle": settle, "offers": permit2 });
            routes.push(priced(&format!("permit2-{settle}"), &format!("/plain/permit2/{settle}/{{id}}"), more));
        }
        routes.push(priced("metered", "/metered", serde_json::json!({ "offers": upto })));
    }
    policy
}
