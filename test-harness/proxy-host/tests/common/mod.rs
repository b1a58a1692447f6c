//! What the tests share: the compiled filters, a gate with a shop behind it, payments.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(unreachable_pub, reason = "a module of test programs")]

use proxy_host::farebox::{AUTHORITY, Attempt, Payment, Shop, Spelling, Wallet, policy};
use proxy_host::{Filter, Host, Profile, Request, Response};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::OnceLock;

fn built(package: &str, features: &[&str]) -> PathBuf {
    static TOOLS: OnceLock<rig::Tools> = OnceLock::new();
    let tools = TOOLS.get_or_init(|| rig::Tools::ensure(&|step| eprintln!("{step}")).unwrap());
    rig::wasm::build(tools, package, features).unwrap()
}

/// Our filter.
pub fn filter() -> Filter {
    static FILTER: OnceLock<Filter> = OnceLock::new();
    FILTER.get_or_init(|| Filter::load(&built("farebox-filter", &[])).unwrap()).clone()
}

/// Our filter, with faults that `FAREBOX_MUTANT` switches on.
pub fn mutants() -> Filter {
    Filter::load(&built("farebox-filter", &["mutants"])).unwrap()
}

/// The filter written with the SDK.
pub fn baseline() -> Filter {
    static FILTER: OnceLock<Filter> = OnceLock::new();
    FILTER.get_or_init(|| Filter::load(&built("farebox-baseline", &[])).unwrap()).clone()
}

/// A gate with a shop behind it.
pub struct Gate {
    pub host: Host,
    pub shop: Rc<RefCell<Shop>>,
    pub wallet: Wallet,
    nonces: std::cell::Cell<u8>,
}

impl Gate {
    pub fn new(profile: Profile, vms: usize) -> Self {
        Self::with_policy(profile, vms, &policy(1_000_000).to_string())
    }

    pub fn with_policy(profile: Profile, vms: usize, json: &str) -> Self {
        let shop = Rc::new(RefCell::new(Shop::new(1)));
        let host = Host::new(&filter(), profile, 1, shop.clone());
        for _ in 0..vms {
            host.start(json, &[]).unwrap();
        }
        host.advance(2500); // until every worker has learnt what facilitators support
        shop.borrow_mut().calls.clear();
        Self { host, shop, wallet: Wallet::test(), nonces: std::cell::Cell::new(1) }
    }

    /// A payment that the shop knows.
    pub fn pay(&self, value: u128) -> Payment {
        let nonce = [self.nonces.replace(self.nonces.get() + 1); 32];
        let payment = self.wallet.pay(value, nonce, self.host.now() / 1000);
        self.shop.borrow_mut().issue(&payment);
        payment
    }

    /// Opens a request, without running it.
    pub fn open(&self, vm: usize, path: &str, payment: Option<(&Payment, &Spelling)>) -> u64 {
        self.open_as(vm, Request::new("GET", "http", AUTHORITY, path), payment)
    }

    pub fn open_as(&self, vm: usize, request: Request, payment: Option<(&Payment, &Spelling)>) -> u64 {
        let path = request.headers.text(":path").unwrap().to_owned();
        let nonce = payment.map(|(payment, _)| payment.nonce);
        let request = match payment {
            Some((payment, spelling)) => request.header(Payment::header_name(spelling), &payment.header(spelling)),
            None => request,
        };
        let id = self.host.open(vm, request);
        self.shop.borrow_mut().attempts.insert(id, Attempt { path, nonce });
        id
    }

    /// Sends a request and lets everything happen that needs no time.
    pub fn send(&self, vm: usize, path: &str, payment: Option<&Payment>) -> Option<Response> {
        let spelling = Spelling::of(path);
        let id = self.open(vm, path, payment.map(|payment| (payment, &spelling)));
        self.host.run_until_idle();
        self.host.reply(id)
    }

    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.shop.borrow_mut().calls)
    }

    pub fn assert_clean(&self, what: &str) {
        let shop = self.shop.borrow();
        assert!(shop.violations.is_empty(), "{what}: {:#?}\n{:#?}", shop.violations, self.host.log());
        assert_eq!(self.host.counters().traps, 0, "{what}: {:#?}", self.host.log());
    }
}

/// The code of a refusal.
pub fn code(response: &Response) -> String {
    let json: serde_json::Value = serde_json::from_slice(&response.body).unwrap_or_default();
    json["code"].as_str().unwrap_or_default().to_owned()
}

/// The shop's answer to a settlement that it carried out.
pub fn settled(payment: &Payment) -> String {
    let transaction: String = payment.nonce.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(r#"{{"success":true,"transaction":"0x{transaction}","network":"eip155:84532"}}"#)
}
