//! What every ledger backend must do, tried on Durable Objects in real workerd.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use farebox_core::ledger::StoreError;
use farebox_core::ledger::conformance::{Backend, rules};
use farebox_core::ledger::local::Ceilings;
use farebox_core::ledger::remote::{Remote, Transport};
use rig::tools::workspace_dir;
use rig::workerd::Config;
use rig::{Tools, Workerd, package};

/// Objects that a ledger is spread over, as in `workers/places.mjs`.
const PLACES: u32 = 2;

#[derive(Clone)]
struct Http {
    client: reqwest::Client,
    ledger: String,
}

impl Transport for Http {
    fn places(&self) -> u32 {
        PLACES
    }

    async fn send(&self, place: u32, message: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let request = self.client.post(format!("{}/{place}", self.ledger)).body(message);
        let response = request.send().await.map_err(|_| StoreError::Failed)?;
        if response.status() != 200 {
            eprintln!("{}", response.text().await.unwrap_or_default());
            return Err(StoreError::Failed);
        }
        response.bytes().await.map(|bytes| bytes.to_vec()).map_err(|_| StoreError::Failed)
    }
}

struct Objects {
    url: String,
    founded: AtomicUsize,
}

impl Backend for Objects {
    type Store = Remote<Http>;
    type Ledger = Http;

    fn found(&self, ceilings: Ceilings) -> Http {
        let number = self.founded.fetch_add(1, Ordering::Relaxed);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Http { client, ledger: format!("{}/ledger{number}/{}/{}", self.url, ceilings.claims, ceilings.tokens) }
    }

    fn worker(&self, ledger: &Http) -> Remote<Http> {
        Remote::new(ledger.clone())
    }

    fn many(&self, number: u32) -> u32 {
        number / 20
    }
}

#[tokio::test]
async fn a_ledger_in_durable_objects_keeps_every_rule() {
    let tools = Tools::ensure(&|step| eprintln!("· {step}")).unwrap();
    let workers = tools.workers(&|step| eprintln!("· {step}")).unwrap();
    let package = package::build(&tools, &workers).unwrap();
    let source = workspace_dir().join("test-harness/workers/places.mjs");
    // Rules are about what is kept, not about how long this machine takes to write a block.
    let scratch = tempfile::Builder::new().prefix("farebox-objects-").tempdir_in(in_memory()).unwrap();
    let config = Config::of(&package, source).unwrap().disk(scratch.path());
    let url = config.url();
    let _workerd = Workerd::start(&workers, config).await.unwrap();
    let objects = Objects { url, founded: AtomicUsize::new(0) };
    let all = rules::<Objects>();
    for (name, rule) in &all {
        let begun = Instant::now();
        rule(&objects).await;
        eprintln!("{:6.1} s {name}", begun.elapsed().as_secs_f64());
    }
    assert!(all.len() >= 30, "{}", all.len());
}

fn in_memory() -> std::path::PathBuf {
    let shared = std::path::Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}
