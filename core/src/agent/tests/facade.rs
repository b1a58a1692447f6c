//! The engine as other languages see it.

use super::super::facade::Engine;
use super::kit::*;
use crate::crypto::hex;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

struct Shell {
    engine: Engine,
    blob: Option<Vec<u8>>,
}

impl Shell {
    fn new(policy: &Value) -> Self {
        let mut engine = Engine::new(&policy.to_string(), "{}").unwrap();
        let secret = hex::decode_fixed("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap();
        assert_eq!(engine.hold(&secret).as_deref(), Some(PAYER));
        let mut shell = Self { engine, blob: None };
        assert_eq!(shell.call(json!({ "op": "begin" })), json!({}));
        shell
    }

    fn call(&mut self, mut operation: Value) -> Value {
        if operation.get("now").is_none() && operation["op"] != "compare" {
            operation["now"] = NOW.into();
        }
        let reply = self.engine.call(&operation.to_string(), self.blob.as_deref());
        self.blob = reply.blob.or(self.blob.take());
        serde_json::from_str(&reply.json).unwrap()
    }
}

fn asked(offers: &[Value]) -> Value {
    json!({ "headers": [["Payment-Required", STANDARD.encode(required(offers).to_string())]] })
}

const ID: &str = "0x000102030405060708090a0b0c0d0e0f";

#[test]
fn a_payment_goes_through_in_four_calls() {
    let mut shell = Shell::new(&base());
    let request = json!({ "method": "GET", "url": URL });
    let reserve = json!({ "op": "reserve", "request": request, "challenge": asked(&[offer(json!({}))]), "id": ID });
    let reserved = shell.call(reserve.clone());
    assert_eq!(reserved["decision"]["outcome"], "choose");
    assert_eq!(reserved["decision"]["offer"]["text"], "0.01 usd");
    assert_eq!(reserved["draft"]["payer"], PAYER);
    assert_eq!(reserved["draft"]["typed_data"]["message"]["value"], "10000");
    // A write that may have happened is repeated with the same id: the same payment, reserved once.
    let again = shell.call(reserve);
    assert_eq!(again["draft"], reserved["draft"]);
    let status = shell.call(json!({ "op": "status" }));
    assert_eq!(
        status["left"][0],
        json!({ "rule": "budgets day", "key": "", "unit": "usd", "max": "1", "used": "0.01", "left": "0.99" })
    );
    assert_eq!(status["open"][0]["id"], ID);

    let signed = shell.call(json!({ "op": "sign", "id": ID }));
    assert_eq!(signed["payment"]["header"], "payment-signature");
    assert_eq!(shell.call(json!({ "op": "sign", "id": ID }))["payment"], signed["payment"]);
    let settlement =
        STANDARD.encode(json!({ "success": true, "transaction": "0xab", "network": "eip155:84532" }).to_string());
    let no = shell.call(json!({ "op": "answer", "id": ID, "attempt": 1, "response": null }));
    assert_eq!((no["resend_after"].clone(), no["outcome"].clone()), (json!(2000), json!("unknown")));
    let response = json!({ "status": 200, "headers": [["payment-response", settlement]] });
    let answered = shell.call(json!({ "op": "answer", "id": ID, "attempt": 2, "response": response }));
    assert_eq!(
        (answered["outcome"].clone(), answered["charged"].clone(), answered["faults"].clone()),
        (json!("charged"), json!("10000"), json!([]))
    );
    assert_eq!(shell.call(json!({ "op": "status" }))["open"], json!([]));
    assert_eq!(
        shell.call(json!({ "op": "answer", "id": ID, "attempt": 3, "response": null }))["error"]["code"],
        "not_held"
    );
}

#[test]
fn a_lost_answer_is_resumed_by_whoever_comes_next() {
    let mut shell = Shell::new(&base());
    let request = json!({ "method": "GET", "url": URL });
    shell.call(json!({ "op": "reserve", "request": request, "challenge": asked(&[offer(json!({}))]), "id": ID }));
    let signed = shell.call(json!({ "op": "sign", "id": ID }));
    let resume = json!({ "op": "resume", "request": request });
    assert_eq!(shell.call(resume.clone())["resumed"], Value::Null);
    // The process dies; the blob is all there is.
    let mut next = Shell::new(&base());
    next.blob = shell.blob;
    let resumed = next.call(json!({ "op": "resume", "request": request, "now": NOW + 130 }));
    assert_eq!(resumed["resumed"]["payment"], signed["payment"]);
    assert_eq!(next.call(json!({ "op": "resume", "request": request, "now": NOW + 131 }))["resumed"], Value::Null);
    next.call(json!({ "op": "evidence", "id": ID, "amount": null, "now": NOW + 1000 }));
    assert_eq!(next.call(json!({ "op": "status", "now": NOW + 1000 }))["left"][0]["used"], "0");
}

#[test]
fn questions_policies_and_the_breaker_are_dealt_with() {
    let mut policy = base();
    policy["approvals"] = json!([{ "above": "0.005 usd" }]);
    policy["breaker"] = json!({ "faults": 1, "seconds": 60 });
    let mut shell = Shell::new(&policy);
    let reserve = json!({
        "op": "reserve", "request": { "method": "GET", "url": URL }, "challenge": asked(&[offer(json!({}))]), "id": ID,
    });
    let ask = shell.call(reserve.clone());
    assert_eq!(ask["decision"]["outcome"], "ask");
    let digest = ask["decision"]["question"]["digest"].clone();
    assert_eq!(shell.call(json!({ "op": "status" }))["questions"][0]["digest"], digest);
    assert_eq!(shell.call(json!({ "op": "approve_by_host", "digest": digest }))["approved"], "enough");
    assert_eq!(shell.call(reserve.clone())["decision"]["outcome"], "choose");
    shell.call(json!({ "op": "sign", "id": ID }));
    let refused = json!({ "status": 402, "headers": [] });
    assert_eq!(
        shell.call(json!({ "op": "answer", "id": ID, "attempt": 1, "response": refused }))["outcome"],
        "refused"
    );
    let mut another = reserve;
    another["id"] = json!("0x0f0e0d0c0b0a09080706050403020100");
    assert_eq!(shell.call(another.clone())["decision"]["reasons"], json!(["frozen"]));
    assert_eq!(shell.call(json!({ "op": "unfreeze", "id": ID }))["question"], Value::Null);
    assert_eq!(shell.call(another)["decision"]["outcome"], "ask");

    // A tighter edition needs nothing, a looser one somebody, an older one is refused.
    policy["serial"] = 2.into();
    policy["caps"] = json!([{ "max": "0.02 usd" }]);
    assert_eq!(shell.call(json!({ "op": "compare", "policy": policy }))["looser"], json!([]));
    assert_eq!(shell.call(json!({ "op": "adopt", "policy": policy, "id": ID }))["adopted"], true);
    policy["serial"] = 3.into();
    policy["caps"] = json!([{ "max": "0.03 usd" }]);
    assert_eq!(
        shell.call(json!({ "op": "compare", "policy": policy }))["looser"],
        json!(["caps[0]: the cap is higher or for less"])
    );
    let asks = shell.call(json!({ "op": "adopt", "policy": policy, "id": ID }));
    assert_eq!(asks["adopted"], false);
    shell.call(json!({ "op": "approve_by_host", "digest": asks["question"]["digest"] }));
    assert_eq!(shell.call(json!({ "op": "adopt", "policy": policy, "id": ID }))["adopted"], true);
    policy["serial"] = 2.into();
    assert_eq!(
        shell.call(json!({ "op": "adopt", "policy": policy, "id": ID, "loosen": true }))["error"]["code"],
        "rollback"
    );
}

#[test]
fn what_is_wrong_is_said_and_writes_nothing() {
    let mut shell = Shell::new(&base());
    let before = shell.blob.clone();
    let challenge = asked(&[offer(json!({}))]);
    let request = json!({ "method": "GET", "url": URL });
    for (operation, code) in [
        (json!({ "op": "nonsense" }), "bad_operation"),
        (json!({ "op": "begin" }), "begun"),
        (json!({ "op": "reserve", "request": request, "challenge": challenge, "id": "0x00" }), "bad_operation"),
        (json!({ "op": "reserve", "request": request, "challenge": challenge, "id": ID, "more": 1 }), "bad_operation"),
        (
            json!({ "op": "reserve", "request": { "method": "get", "url": URL }, "challenge": challenge, "id": ID }),
            "request",
        ),
        (
            json!({ "op": "reserve", "request": request, "challenge": { "headers": [] }, "id": ID }),
            "challenge_unreadable",
        ),
        (json!({ "op": "sign", "id": ID }), "no_draft"),
        (json!({ "op": "give_up", "id": ID }), "not_held"),
        (json!({ "op": "approve", "jws": "a.b.c" }), "bad_approval"),
        (json!({ "op": "guard", "typed_data": { "primaryType": "Order" } }), "typed_data"),
    ] {
        let reply = shell.call(operation.clone());
        assert_eq!(reply["error"]["code"], code, "{operation} {reply}");
        assert_eq!(shell.blob, before);
    }
    let mut policy = base();
    policy["colour"] = "red".into();
    policy["caps"][0]["max"] = "5".into();
    let error: Value = serde_json::from_str(&Engine::new(&policy.to_string(), "{}").unwrap_err()).unwrap();
    assert_eq!(error["error"]["mistakes"][0]["path"], "colour");
    // Nothing paid from a store that was wiped.
    shell.blob = None;
    let lost = shell.call(json!({ "op": "reserve", "request": request, "challenge": challenge, "id": ID }));
    assert_eq!(lost["decision"]["reasons"], json!(["counters_lost"]));
}

#[test]
fn a_wallet_signs_what_the_draft_shows() {
    let mut engine = Engine::new(
        &base().to_string(),
        &json!({ "accounts": [{ "address": PAYER, "networks": ["eip155:84532"] }] }).to_string(),
    )
    .unwrap();
    let begun = engine.call(&json!({ "op": "begin", "now": NOW }).to_string(), None).blob;
    let reserve = json!({ "op": "reserve", "now": NOW, "request": { "method": "GET", "url": URL }, "challenge": asked(&[offer(json!({}))]), "id": ID });
    let reply = engine.call(&reserve.to_string(), begun.as_deref());
    let json: Value = serde_json::from_str(&reply.json).unwrap();
    let digest: [u8; 32] = hex::decode_fixed(json["draft"]["digest"].as_str().unwrap()).unwrap();
    let key = crate::crypto::secp256k1::Key::from_secret(
        &hex::decode_fixed("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap(),
    );
    let signature = hex::encode(&key.unwrap().sign_recoverable(&digest));
    let wrong = json!({ "op": "sign", "now": NOW, "id": ID, "signature": format!("0x{}", "11".repeat(65)) });
    assert!(engine.call(&wrong.to_string(), reply.blob.as_deref()).json.contains("bad_signature"));
    let sign = json!({ "op": "sign", "now": NOW, "id": ID, "signature": signature });
    let signed = engine.call(&sign.to_string(), reply.blob.as_deref());
    assert!(signed.json.contains("payment-signature") && signed.blob.is_some(), "{}", signed.json);
}

#[test]
fn grants_are_imported_and_what_is_not_says_where() {
    let permission = json!({
        "chainId": 84532, "permission": {
            "account": PAYER, "spender": PAYER, "token": USDC, "allowance": "1000000", "period": 3600,
            "start": NOW, "end": NOW + 86_400, "salt": "0", "extraData": "0x",
        },
    });
    let frame = json!({ "unit": "usd", "hosts": ["api.example.com"] }).to_string();
    let imported = super::super::facade::import("spend_permission", &permission.to_string(), &frame).unwrap();
    let imported: Value = serde_json::from_str(&imported).unwrap();
    assert_eq!(imported["policy"]["budgets"][0]["max"], "1 usd");
    assert!(Engine::new(&imported["policy"].to_string(), "{}").is_ok());
    for (kind, grant, frame, code) in [
        ("erc7715", "{}", "{}", "not_imported"),
        ("ap2", "[]", "{}", "not_imported"),
        ("erc20", "{}", "{}", "bad_operation"),
        ("ap2", "{}", "{\"more\":1}", "bad_operation"),
    ] {
        let error = super::super::facade::import(kind, grant, frame).unwrap_err();
        let error: Value = serde_json::from_str(&error).unwrap();
        assert_eq!(error["error"]["code"], code, "{error}");
    }
}
