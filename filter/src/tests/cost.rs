//! What a call with a token asks of the host: these host calls, and no others.

use super::fake::{Books, Fake, ROOT};
use crate::abi::{Action, ContextId, Map};
use crate::logic::Logic;
use crate::plugin::Plugin;
use farebox_core::crypto::keys::{Algorithm, SigningKey};
use farebox_core::gate::Gate;
use farebox_core::host::{Capabilities, Done, Exchange, Host};
use farebox_core::token::{Constraint, Grant, Limit, Per, Token, Unit, issue};
use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;

const ORIGIN: &str = "https://api.example.com";
const PAYER: &str = "eip155:84532:0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const NOW: u64 = 1_800_000_000;

fn key() -> SigningKey {
    SigningKey::from_secret(Algorithm::EdDsa, &[1; 32]).unwrap()
}

/// A gate whose key is in no environment.
struct Shop(Rc<Gate>);

impl Logic for Shop {
    fn load(json: &[u8], _env: &dyn Fn(&str) -> Option<String>, can: Capabilities) -> Result<Self, Vec<String>> {
        let env = |_: &str| Some(key().to_jwk().to_string());
        <Gate as Logic>::load(json, &env, can).map(|gate| Self(Rc::new(gate)))
    }

    fn claims_ceiling(&self) -> u32 {
        1000
    }

    fn tokens_ceiling(&self) -> u32 {
        1000
    }

    fn serve<H: Host, E: Exchange>(self: Rc<Self>, host: H, exchange: E) -> impl Future<Output = Done> + 'static {
        self.0.clone().serve(host, exchange)
    }

    fn tend<H: Host>(self: Rc<Self>, _host: H) -> impl Future<Output = ()> + 'static {
        std::future::pending()
    }
}

/// A proxy with the shop in it, which counts host calls by name.
struct Proxy {
    books: Rc<Books>,
    plugin: Plugin<Fake, Shop>,
    called: Rc<RefCell<HashMap<String, usize>>>,
    last: ContextId,
}

impl Proxy {
    fn new(more: &str) -> Self {
        let policy = format!(
            r#"{{"version":1,"origins":["{ORIGIN}"],"default":"denied",
                "payees":{{"eip155:84532":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}},
                "facilitators":[{{"name":"main","url":"http://facilitator.test","cluster":"mock"}}],
                "tokens":{{"keys":[{{"env":"KEY"}}]}},{more}
                "routes":[{{"name":"quotes","path":"/v1/quotes/*","methods":["GET"],
                    "offers":[{{"price":"$0.01","network":"eip155:84532"}}]}}]}}"#
        );
        let fake = Fake::default();
        fake.0.configuration.replace(policy.clone().into_bytes());
        fake.0.now.set(NOW * 1000);
        fake.0.alive.borrow_mut().insert(ROOT);
        let books = Rc::clone(&fake.0);
        let plugin = Plugin::new(fake);
        books.effective.set(ROOT);
        plugin.on_context_create(ROOT, 0);
        assert!(plugin.on_configure(ROOT, policy.len()), "{:?}", books.log.borrow());
        let called = Rc::<RefCell<HashMap<String, usize>>>::default();
        let seen = Rc::clone(&called);
        books.refuse.replace(Some(Rc::new(move |call: &str| {
            *seen.borrow_mut().entry(call.to_owned()).or_default() += 1;
            None
        })));
        Self { books, plugin, called, last: 1 }
    }

    /// One call with a token, and what it asked of the host, in the order of names.
    fn call(&mut self, token: &str) -> Vec<(String, usize)> {
        self.last += 1;
        let stream = self.last;
        self.called.borrow_mut().clear();
        let owned = |fields: &[(&str, &str)]| {
            fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>()
        };
        let authorization = format!("Bearer {token}");
        let request = owned(&[
            (":authority", "api.example.com"),
            (":path", "/v1/quotes/btc?ccy=usd"),
            (":method", "GET"),
            (":scheme", "https"),
            ("user-agent", "curl/8.5.0"),
            ("accept", "application/json"),
            ("accept-encoding", "gzip, br"),
            ("authorization", &authorization),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "0f1c2d3e-4f5a-4b6c-8d7e-9f0a1b2c3d4e"),
        ]);
        let response = owned(&[
            (":status", "200"),
            ("content-type", "application/json"),
            ("content-length", "11"),
            ("date", "Fri, 15 Jan 2027 08:00:00 GMT"),
            ("server", "upstream"),
        ]);
        self.books.alive.borrow_mut().insert(stream);
        self.books.effective.set(stream);
        self.books.maps.borrow_mut().insert((stream, Map::RequestHeaders as u32), request);
        self.books.maps.borrow_mut().insert((stream, Map::ResponseHeaders as u32), response);
        self.plugin.on_context_create(stream, ROOT);
        assert_eq!(self.plugin.on_request_headers(stream, true), Action::Continue);
        assert_eq!(self.plugin.on_response_headers(stream, false), Action::Continue);
        let _ = self.plugin.on_done(stream);
        self.plugin.on_delete(stream);
        self.books.alive.borrow_mut().remove(&stream);
        self.books.maps.borrow_mut().retain(|(of, _), _| *of != stream);
        let mut called: Vec<(String, usize)> = self.called.borrow_mut().drain().collect();
        called.sort();
        called
    }

    fn token(&self) -> String {
        let epoch = self.books.shared.borrow()["farebox-.epo"].0[..16].try_into().unwrap();
        let limit = |per, max| Limit { per, unit: Unit::Call, max };
        let token = Token {
            iss: ORIGIN.to_owned(),
            aud: vec![ORIGIN.to_owned()],
            client_id: Some(PAYER.to_owned()),
            sub: Some(PAYER.to_owned()),
            iat: NOW,
            nbf: Some(NOW),
            exp: NOW + 3600,
            jti: "0123456789abcdefghijkl".to_owned(),
            cnf: None,
            grants: vec![Grant {
                locations: vec![ORIGIN.to_owned()],
                actions: ["GET", "HEAD"].map(str::to_owned).to_vec(),
                constraints: vec![Constraint::RouteOneOf(vec!["quotes".to_owned()])],
                limits: vec![limit(Per::Token, 1_000_000), limit(Per::Window(1), 1_000_000)],
            }],
            del_depth: 0,
            del_max_depth: None,
            par_hash: None,
            txn: None,
            epoch: Some(epoch),
            scope: None,
            status: None,
            act: None,
        };
        issue(&key(), &token).unwrap()
    }
}

fn called(calls: &[(&str, usize)]) -> Vec<(String, usize)> {
    let mut calls: Vec<_> = calls.iter().map(|(name, times)| ((*name).to_owned(), *times)).collect();
    calls.sort();
    calls
}

#[test]
fn a_call_with_a_token_asks_no_more_of_the_host_than_it_needs() {
    let mut proxy = Proxy::new("");
    let token = proxy.token();
    proxy.call(&token);
    let expected = [
        // Payer, token, route and decision, for access logs.
        ("set_property", 4),
        // Taken out: the token. Set: payer, token's id, what is left.
        ("remove", 1),
        ("replace", 3 + 2),
        ("add", 1),
        // Revocations; the token's counters.
        ("shared", 2),
        ("set_shared", 1),
        ("increment", 1),
        ("now", 1),
        ("pairs", 2),
    ];
    assert_eq!(proxy.call(&token), called(&expected));
    if let Some(times) = std::env::var_os("FAREBOX_COST_LOOP") {
        for _ in 0..times.to_string_lossy().parse::<usize>().unwrap() {
            proxy.call(&token);
        }
    }
}

#[test]
fn an_audit_log_costs_a_call_one_line() {
    let [expected, with] = ["", r#""audit":{},"#].map(|more| {
        let mut proxy = Proxy::new(more);
        let token = proxy.token();
        proxy.call(&token);
        proxy.call(&token)
    });
    let mut times: HashMap<String, usize> = expected.into_iter().collect();
    *times.entry("log".to_owned()).or_default() += 1;
    // The line says when, and is written in the response's callback.
    *times.entry("now".to_owned()).or_default() += 1;
    let mut expected: Vec<_> = times.into_iter().collect();
    expected.sort();
    assert_eq!(with, expected);
}
