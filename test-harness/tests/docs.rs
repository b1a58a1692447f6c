//! What a reader is told to run, runs: shipped configurations, examples, commands, links.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use farebox_core::receipt::verify::{Trust, Verifier};
use rig::accounts::{BUYER, PAYEE};
use rig::process::free_port;
use rig::proofs::tokens;
use rig::tools::workspace_dir;
use rig::{Chain, Envoy, EnvoyConfig, Facilitator, Tools, Upstream};
use serde_json::{Value, json};

/// What `cargo xtask build` makes, as the shipped configuration names it.
const WASM: &str = "target/farebox.wasm";

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| Tools::ensure(&|step| eprintln!("· {step}")).unwrap())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace_dir().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a YAML text.
fn yaml(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Files of the repository with this ending, without what builds and installers made.
fn files(ending: &str) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(workspace_dir())
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<PathBuf> =
        listed.lines().filter(|file| file.ends_with(ending)).map(|file| workspace_dir().join(file)).collect();
    assert!(!files.is_empty(), "no {ending}");
    files
}

/// Every object in `value` that has the member `name`.
fn having<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    let members: Vec<&Value> = match value {
        Value::Object(members) => members.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    let own = value.get(name).map(|_| value);
    own.into_iter().chain(members.into_iter().flat_map(|member| having(member, name))).collect()
}

fn the_one<'a>(value: &'a Value, name: &str) -> &'a Value {
    let found = having(value, name);
    assert_eq!(found.len(), 1, "{name}");
    found[0]
}

/// What loading a policy warns of, or why it is refused.
fn load(policy: &Value) -> Result<Vec<String>, String> {
    let text = policy.to_string();
    let read_body = farebox_core::policy::reads_bodies(text.as_bytes());
    let can = farebox_core::host::Capabilities { hold_response: true, read_body };
    let env = |name: &str| match name {
        tokens::KEY_ENV => Some(tokens::gate_key().to_jwk().to_string()),
        _ => Some("token".to_owned()),
    };
    farebox_core::policy::Policy::load(text.as_bytes(), &env, can)
        .map(|policy| policy.warnings().to_vec())
        .map_err(|mistakes| mistakes.to_string())
}

/// The shipped Envoy configuration, as text by which Envoy finds the filter from anywhere.
fn shipped() -> String {
    let text = read("envoy-config/envoy.yaml");
    let filter = rig::wasm::build(tools(), "farebox-filter", &[]).unwrap();
    assert_eq!(text.matches(&format!("filename: {WASM} ")).count(), 1);
    text.replace(&format!("filename: {WASM} "), &format!("filename: {} ", filter.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_accepts_the_shipped_configuration_as_it_is_and_with_a_facilitator_on_the_internet() {
    let text = shipped();
    let (good, log) = Envoy::validate(tools(), EnvoyConfig::new(text.clone())).await.unwrap();
    assert!(good, "{log}");

    let mut config = yaml(&text).remove(0);
    let clusters = config["static_resources"]["clusters"].as_array_mut().unwrap();
    let local = clusters.iter_mut().find(|cluster| cluster["name"] == "facilitator").unwrap();
    *local = yaml(&read("envoy-config/facilitator-tls.yaml")).remove(0);
    let (good, log) = Envoy::validate(tools(), EnvoyConfig::new(config.to_string())).await.unwrap();
    assert!(good, "{log}");
}

#[test]
fn every_shipped_configuration_fails_closed_and_has_a_policy_that_loads() {
    let folder = workspace_dir().join("envoy-config");
    let mut filters = 0;
    for file in files(".yaml").iter().filter(|file| file.starts_with(&folder)) {
        for document in yaml(&std::fs::read_to_string(file).unwrap()) {
            for plugin in having(&document, "vm_config") {
                assert_eq!(plugin["failure_policy"], "FAIL_RELOAD", "{}", file.display());
                assert_eq!(load(&plugin["configuration"]["value"]), Ok(Vec::new()), "{}", file.display());
                filters += 1;
            }
            for plugin in having(&document, "pluginConfig") {
                assert_eq!(plugin["failStrategy"], "FAIL_RELOAD", "{}", file.display());
                assert_eq!(load(&plugin["pluginConfig"]), Ok(Vec::new()), "{}", file.display());
                filters += 1;
            }
        }
    }
    assert_eq!(filters, 2);
}

#[test]
fn the_shipped_configuration_has_what_operations_md_asks_for() {
    let config = yaml(&read("envoy-config/envoy.yaml")).remove(0);
    let manager = the_one(&config, "http_filters");
    for on in ["use_remote_address", "normalize_path", "merge_slashes"] {
        assert_eq!(manager[on], true, "{on}");
    }
    assert!(manager.get("internal_address_config").is_none());
    assert_eq!(manager["path_with_escaped_slashes_action"], "REJECT_REQUEST");
    let options = &manager["common_http_protocol_options"];
    assert_eq!(options["headers_with_underscores_action"], "REJECT_REQUEST");
    assert!(having(&config, "retry_policy").is_empty());
    let tags: Vec<(String, String)> = the_one(&config, "stats_tags")["stats_tags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tag| (tag["tag_name"].as_str().unwrap().to_owned(), tag["regex"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(tags, rig::envoy_config::farebox_stats_tags());
    let filters = manager["http_filters"].as_array().unwrap();
    let names: Vec<&str> = filters.iter().map(|filter| filter["name"].as_str().unwrap()).collect();
    assert_eq!(names[names.len() - 2..], ["farebox", "envoy.filters.http.router"]);
    assert_eq!(
        load(the_one(&yaml(&with_tokens(&read("envoy-config/envoy.yaml"))).remove(0), "origins")),
        Ok(Vec::new())
    );

    let seconds = |value: &Value| value.as_str().unwrap().trim_end_matches('s').parse::<u64>().unwrap();
    let route = seconds(&the_one(&config, "timeout")["timeout"]);
    let idle = seconds(&manager["stream_idle_timeout"]);
    let policy = &the_one(&config, "origins");
    let settle: u64 = policy["facilitators"]
        .as_array()
        .unwrap()
        .iter()
        // A facilitator that says "pending" is asked once more.
        .map(|facilitator| 2 * facilitator["settle_timeout_seconds"].as_u64().unwrap())
        .sum();
    for priced in having(policy, "offers") {
        let upstream = priced["response_timeout_seconds"].as_u64().unwrap();
        assert!(upstream + settle < route, "{priced}");
        assert!(settle < idle);
    }
}

/// The shipped configuration with what it says of capability tokens.
fn with_tokens(shipped: &str) -> String {
    let whole = shipped.replace("#:", "");
    assert!(whole.contains("\n                            tokens:\n"));
    whole
}

/// The shipped configuration on free ports, in front of a real upstream, facilitator and chain.
struct Shipped {
    url: String,
    chain: Chain,
    upstream: Upstream,
    envoy: Envoy,
    _facilitator: Facilitator,
}

impl Shipped {
    async fn start() -> Self {
        Self::of(&shipped(), &[]).await
    }

    async fn of(text: &str, env: &[(String, String)]) -> Self {
        let chain = Chain::start(tools()).await.unwrap();
        let facilitator = Facilitator::start(tools(), &chain).await.unwrap();
        let upstream = Upstream::start().unwrap();
        let port = free_port().unwrap();
        let mut config = yaml(text).remove(0);
        let admin = free_port().unwrap();
        config["admin"]["address"]["socket_address"]["port_value"] = json!(admin);
        let resources = &mut config["static_resources"];
        resources["listeners"][0]["address"]["socket_address"]["port_value"] = json!(port);
        for cluster in resources["clusters"].as_array_mut().unwrap() {
            let served = if cluster["name"] == "facilitator" { facilitator.port() } else { upstream.port() };
            let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value";
            *cluster.pointer_mut(endpoint).unwrap() = json!(served);
        }
        // The origins of the policy name the port.
        let text = config.to_string().replace(":8080", &format!(":{port}"));
        let config = env.iter().fold(EnvoyConfig::new(text), |config, (name, value)| config.env(name, value));
        let envoy = Envoy::start(tools(), config).await.unwrap();
        Self { url: format!("http://127.0.0.1:{port}"), chain, upstream, envoy, _facilitator: facilitator }
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        rig::http::client().get(format!("{}{path}", self.url)).send().await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_configuration_serves_and_the_example_buyer_pays_through_it() {
    let shipped = Shipped::start().await;
    assert_eq!(shipped.get("/health").await.status(), 200);
    assert_eq!(shipped.get("/elsewhere").await.status(), 404);
    assert_eq!(shipped.get("/reports%2f1").await.status(), 400);
    assert_eq!(shipped.get("/orders").await.status(), 405);
    let unpaid = shipped.get("/reports/1").await;
    assert_eq!(unpaid.status(), 402);
    assert!(unpaid.headers().contains_key("payment-required"));
    assert_eq!(shipped.upstream.hits().len(), 1, "only /health");

    let bought = example("buyer.mjs", &format!("{}/reports/1", shipped.url)).await;
    assert!(bought.starts_with("200 "), "{bought}");
    let transfers = shipped.chain.transfers_to(PAYEE.address).await.unwrap();
    assert_eq!(transfers.iter().map(|transfer| transfer.amount).collect::<Vec<_>>(), [10_000]);

    // The access log goes to standard output: the line says what operators are promised.
    let line = rig::process::wait_for("the access log", Duration::from_secs(10), || async {
        let log = shipped.envoy.log().ok()?;
        log.lines().find(|line| line.contains("\"decision\":\"paid\"")).map(str::to_owned)
    });
    let line: Value = serde_json::from_str(&line.await.unwrap()).unwrap();
    assert_eq!((&line["route"], &line["status"], &line["amount"]), (&json!("report"), &json!(200), &json!("10000")));
    assert_eq!(line["payer"], format!("eip155:84532:{}", BUYER.address));
    assert_eq!(line["transaction"], transfers[0].transaction);
    let prometheus = shipped.envoy.prometheus().await.unwrap();
    let count = r#"farebox_exchanges_total{route="report",decision="paid"} 1"#;
    assert!(prometheus.lines().any(|line| line == count), "{prometheus}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_configuration_sells_passes_and_the_example_holder_uses_one() {
    let shipped = Shipped::of(&with_tokens(&shipped()), &tokens::with_key(&[])).await;
    let said = example("pass.mjs", &format!("{}/reports/1", shipped.url)).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, ["200 call=999", "200 call=998", "200 call=997"], "{said}");
    let transfers = shipped.chain.transfers_to(PAYEE.address).await.unwrap();
    assert_eq!(transfers.iter().map(|transfer| transfer.amount).collect::<Vec<_>>(), [1_000_000]);
    assert_eq!(shipped.upstream.hits().len(), 4, "the call that the pass was bought with, and three");

    let bought = rig::process::wait_for("the access log", Duration::from_secs(10), || async {
        let log = shipped.envoy.log().ok()?;
        let calls = log.lines().filter(|line| line.contains("\"decision\":\"token\""));
        let calls: Vec<Value> = calls.filter_map(|line| serde_json::from_str(line).ok()).collect();
        (calls.len() == 3).then_some(calls)
    });
    let calls = bought.await.unwrap();
    let token = calls[0]["token"].as_str().unwrap();
    assert!(token.len() > 16 && calls.iter().all(|call| call["token"] == token));
    assert!(calls.iter().all(|call| call["payer"] == format!("eip155:84532:{}", BUYER.address)));
    let prometheus = shipped.envoy.prometheus().await.unwrap();
    let count = r#"farebox_exchanges_total{route="report",decision="token"} 3"#;
    assert!(prometheus.lines().any(|line| line == count), "{prometheus}");

    // The audit log is among the proxy's own lines, and is whole.
    let mut verifier = Verifier::new(Trust::Keys(vec![tokens::gate_key().public()]), false);
    let log = shipped.envoy.log().unwrap();
    for (number, line) in (1..).zip(log.lines()) {
        verifier.read(number, line.as_bytes());
    }
    let report = verifier.finish();
    assert_eq!(report.findings, []);
    let lines: u64 = report.logs.iter().flat_map(|log| log.kinds.values()).sum();
    assert!(lines >= 1 + 2 + 3, "{:?}", report.logs);
    let written: Vec<&str> = log.lines().filter(|line| line.contains("{\"audit\":1,")).collect();
    assert!(written.iter().all(|line| line.contains("[warning]")), "{written:?}");
}

/// A client's request headers must not talk Envoy into sending a paid request twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_ask_for_retries() {
    let shipped = Shipped::start().await;
    let answer = rig::upstream::Answer::new(503, ("content-type", "text/plain"), "down");
    shipped.upstream.answer("/health", answer);
    for _ in 0..3 {
        let response = rig::http::client()
            .get(format!("{}/health", shipped.url))
            .header("x-envoy-retry-on", "5xx,reset,gateway-error")
            .header("x-envoy-max-retries", "3")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 503);
    }
    assert_eq!(shipped.upstream.hits().len(), 3);
}

/// Runs an example as its head says, with the packages of the rig.
async fn example(name: &str, url: &str) -> String {
    let (url, script) = (url.to_owned(), read(&format!("examples/buyer/{name}")));
    let wanted: Value = serde_json::from_str(&read("examples/buyer/package.json")).unwrap();
    let installed: Value = serde_json::from_str(&read("test-harness/node/package.json")).unwrap();
    for (name, version) in wanted["dependencies"].as_object().unwrap() {
        assert_eq!(version, &installed["dependencies"][name], "{name}");
    }
    let run = move || {
        let mut node = Command::new("node")
            .args(["--input-type=module", "-", &url])
            .current_dir(tools().node_dir())
            .env("PRIVATE_KEY", BUYER.key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        node.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        node.wait_with_output().unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_example_policy_loads_without_a_warning() {
    let folder = workspace_dir().join("examples/policies");
    let examples: Vec<PathBuf> = files(".yaml").into_iter().filter(|file| file.starts_with(&folder)).collect();
    assert!(examples.len() >= 3);
    for file in examples {
        let policy = yaml(&std::fs::read_to_string(&file).unwrap()).remove(0);
        assert_eq!(load(&policy), Ok(Vec::new()), "{}", file.display());
    }
}

/// Fenced blocks of a page with this language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).filter_map(|rest| rest.split_once("\n```")).map(|(block, _)| block.to_owned()).collect()
}

#[test]
fn every_yaml_block_is_yaml_and_every_policy_in_one_loads() {
    let mut policies = 0;
    for file in files(".md") {
        for block in blocks(&std::fs::read_to_string(&file).unwrap(), "yaml") {
            let document = yaml(&block).remove(0);
            if document.get("version").is_some() {
                assert_eq!(load(&document), Ok(Vec::new()), "{}\n{block}", file.display());
                policies += 1;
            }
        }
    }
    assert!(policies >= 1);
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    for file in files(".md") {
        let text = std::fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let page = if path.is_empty() { file.clone() } else { file.parent().unwrap().join(path) };
            assert!(page.exists(), "{}: {target}", file.display());
            if !anchor.is_empty() {
                assert!(anchors(&page).contains(&anchor.to_owned()), "{}: {target}", file.display());
            }
        }
    }
}

/// The names by which headings of a page can be linked to.
fn anchors(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Every file of ours that a page names in code exists, and every test that it names is one.
#[test]
fn every_file_and_test_that_a_page_names_exists() {
    let sources: String =
        files(".rs").iter().map(|file| std::fs::read_to_string(file).unwrap()).collect::<Vec<_>>().join("\n");
    for file in files(".md") {
        let text = std::fs::read_to_string(&file).unwrap();
        let prose = text.split("```").step_by(2).collect::<String>();
        for code in prose.split('`').skip(1).step_by(2) {
            let is_path = ["core/", "filter/", "test-harness/", "xtask/", "docs/", "envoy-config/", "examples/"]
                .iter()
                .any(|folder| code.starts_with(folder));
            if is_path && !code.contains(['*', ' ', '{']) {
                assert!(workspace_dir().join(code).exists(), "{}: {code}", file.display());
            }
            let words = code.split('_').count();
            if words >= 5
                && !code.starts_with("envoy_")
                && code.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
            {
                // Or a setting of Envoy's that the rig has as a field.
                let known = [format!("fn {code}("), format!("fn {code}<"), format!("pub {code}:")];
                assert!(known.iter().any(|known| sources.contains(known)), "{}: no test {code}", file.display());
            }
        }
    }
}

#[test]
fn every_xtask_command_that_a_page_names_is_one() {
    let mut seen = 0;
    for file in files(".md") {
        let text = std::fs::read_to_string(&file).unwrap();
        for rest in text.split("cargo xtask").skip(1) {
            let command = rest.split(['`', '\n', '#', '|', ',', ')', ';', '"']).next().unwrap().trim();
            let mut words = command.split_whitespace();
            let Some(subcommand) = words.next() else { continue };
            if subcommand.starts_with('<') {
                continue;
            }
            let help = help(subcommand);
            for word in words {
                let word = word.trim_end_matches('.');
                let known = match word.strip_prefix("--") {
                    Some(_) => help.split_whitespace().any(|known| known == word),
                    None => help.contains(word) || word.bytes().all(|c| c.is_ascii_digit()),
                };
                assert!(known, "{}: cargo xtask {command}: no {word}", file.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 4);
}

fn help(subcommand: &str) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--package", "xtask", "--", subcommand, "--help"])
        .current_dir(workspace_dir())
        .output()
        .unwrap();
    assert!(output.status.success(), "{subcommand}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
