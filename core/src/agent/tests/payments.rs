//! What is signed and sent is what the official client signs and sends.

use super::super::challenge::Challenge;
use super::super::counters::Counters;
use super::super::decide;
use super::super::pay::{BadSignature, Binding, Draft};
use super::super::policy::config::Transfer;
use super::super::purse::{Account, Purse};
use super::kit::*;
use crate::crypto::hex;
use crate::http::Headers;
use crate::rail::x402::payment;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/x402.json")).unwrap()
}

fn text(name: &str) -> String {
    vectors()[name].as_str().unwrap().to_owned()
}

/// The draft for the only offer of a challenge.
fn draft(challenge: &Challenge) -> Draft {
    let policy = policy(&base());
    let mut account = Account::of_key(address(PAYER));
    account.transfers.push(Transfer::Permit2);
    let purse = Purse { accounts: vec![account], keeps_tokens: false, holder: None };
    let counters = Counters::begin(&policy, NOW);
    let request = get(URL);
    let decision = decide::decide(&policy, challenge, &request, &purse, &counters, NOW);
    let choice = decision.choice().unwrap_or_else(|| panic!("{}", decision.explanation));
    Draft::new(challenge, choice, &request, Binding { id: &[7; 16], holder: None }, NOW).unwrap()
}

/// The JSON of the payment that is sent, and what the official client sent, with its nonce and signature put in place.
fn sent(draft: Draft) -> Value {
    let signature = key().signature(&draft).unwrap();
    let payment = draft.finish(&signature).unwrap();
    serde_json::from_slice(&STANDARD.decode(payment.value).unwrap()).unwrap()
}

#[test]
fn the_header_is_the_official_clients_to_the_byte_but_for_nonce_and_signature() {
    let headers: Headers = [("payment-required", text("paymentRequiredHeader").as_str())].into_iter().collect();
    let challenge = Challenge::read(&headers, b"").unwrap();
    let draft = draft(&challenge);
    let signature = key().signature(&draft).unwrap();
    let payment = draft.finish(&signature).unwrap();
    assert_eq!(payment.header, "payment-signature");
    let ours = String::from_utf8(STANDARD.decode(&payment.value).unwrap()).unwrap();
    let theirs = text("exact3009_payloadJson");
    let nonce = format!("0x{}", "11".repeat(32));
    let official = serde_json::from_str::<Value>(&theirs).unwrap()["payload"]["signature"].as_str().unwrap().to_owned();
    let as_theirs = ours.replace(&payment.nonce, &nonce).replace(&hex::encode(&signature), &official);
    assert_eq!(as_theirs, theirs);
    // And our gate reads it as signed by the payer.
    let read = payment::Payment::read(payment.value.as_bytes()).unwrap();
    assert_eq!(read.payer().unwrap(), PAYER);
}

#[test]
fn a_permit_and_a_ceiling_have_the_official_shape_and_are_signed_by_the_payer() {
    for vector in ["permit2_payloadJson", "upto_payloadJson"] {
        let theirs: Value = serde_json::from_str(&text(vector)).unwrap();
        let ours = sent(draft(&challenge(&[theirs["accepted"].clone()])));
        let mut expected = theirs.clone();
        for pointer in ["/payload/signature", "/payload/permit2Authorization/nonce", "/resource"] {
            *expected.pointer_mut(pointer).unwrap() = ours.pointer(pointer).unwrap().clone();
        }
        assert_eq!(ours, expected);
    }
}

#[test]
fn a_version_1_payment_has_the_official_shape() {
    let challenge = Challenge::read(&Headers::default(), text("v1_body").as_bytes()).unwrap();
    let draft = draft(&challenge);
    let signature = key().signature(&draft).unwrap();
    let payment = draft.finish(&signature).unwrap();
    assert_eq!(payment.header, "x-payment");
    let ours = String::from_utf8(STANDARD.decode(&payment.value).unwrap()).unwrap();
    let theirs = text("v1_payloadJson");
    let official = serde_json::from_str::<Value>(&theirs).unwrap()["payload"]["signature"].as_str().unwrap().to_owned();
    let nonce = format!("0x{}", "11".repeat(32));
    assert_eq!(ours.replace(&payment.nonce, &nonce).replace(&hex::encode(&signature), &official), theirs);
}

#[test]
fn the_session_key_signs_as_viem_does() {
    // With the vector's nonce in place of ours, digest and signature are the vector's.
    let key = crate::crypto::secp256k1::Key::from_secret(
        &hex::decode_fixed("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").unwrap(),
    )
    .unwrap();
    let digest = hex::decode_fixed(&text("exact3009_digest")).unwrap();
    let theirs: Value = serde_json::from_str(&text("exact3009_payloadJson")).unwrap();
    assert_eq!(hex::encode(&key.sign_recoverable(&digest)), theirs["payload"]["signature"].as_str().unwrap());
    assert_eq!(hex::encode(&key.address().unwrap()), PAYER.to_lowercase());
}

#[test]
fn what_somebody_else_signed_is_not_sent() {
    let draft = draft(&challenge(&[offer(json!({}))]));
    let other = super::super::pay::SessionKey::new(&[9; 32]).unwrap();
    assert_eq!(other.signature(&draft), None);
    let key = crate::crypto::secp256k1::Key::from_secret(&[9; 32]).unwrap();
    assert_eq!(draft.clone().finish(&key.sign_recoverable(&draft.digest())), Err(BadSignature));
    assert_eq!(draft.clone().finish(&[]), Err(BadSignature));
    // Wallets that write the parity as 0 and 1 are understood.
    let mut signature = self::key().signature(&draft).unwrap();
    signature[64] -= 27;
    assert!(draft.finish(&signature).is_ok());
}

#[test]
fn the_nonce_is_bound_to_challenge_holder_and_request() {
    let nonced = |nonce: &str| {
        let mut required = required(&[offer(json!({}))]);
        required["extensions"] = json!({ "farebox": { "info": { "nonce": nonce }, "schema": {} } });
        Challenge::read(&header(&required), b"").unwrap()
    };
    let one = nonced("0x00112233445566778899aabbccddeeff");
    let policy = policy(&base());
    let counters = Counters::begin(&policy, NOW);
    let nonce = |challenge: &Challenge, url: &str, holder: Option<&str>, id: u8| {
        let request = get(url);
        let decision = decide::decide(&policy, challenge, &request, &purse(), &counters, NOW);
        let binding = Binding { id: &[id; 16], holder };
        let draft = Draft::new(challenge, decision.choice().unwrap(), &request, binding, NOW).unwrap();
        draft.typed_data()["message"]["nonce"].as_str().unwrap().to_owned()
    };
    let first = nonce(&one, URL, None, 1);
    // One challenge and one request make one payment, whoever asks for it how often.
    assert_eq!(nonce(&one, URL, None, 2), first);
    let without = challenge(&[offer(json!({}))]);
    let others = [
        nonce(&one, "https://api.example.com/other", None, 1),
        nonce(&one, URL, Some("holder"), 1),
        nonce(&nonced("0x00112233445566778899aabbccddeef0"), URL, None, 1),
        nonce(&without, URL, None, 1),
        nonce(&without, URL, None, 2),
    ];
    let mut all: Vec<&String> = others.iter().chain([&first]).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn extensions_are_echoed_as_they_came_and_the_payment_is_named() {
    let mut required = required(&[offer(json!({}))]);
    required["extensions"] = json!({
        "farebox": { "info": { "nonce": "0x00112233445566778899aabbccddeeff" }, "schema": {} },
        "payment-identifier": vectors()["payment_id_decl"],
        "builder-code": { "info": { "a": "bc_x" } },
    });
    let challenge = Challenge::read(&header(&required), b"").unwrap();
    let ours = sent(draft(&challenge));
    assert_eq!(ours["extensions"]["farebox"], required["extensions"]["farebox"]);
    assert_eq!(ours["extensions"]["builder-code"], required["extensions"]["builder-code"]);
    assert_eq!(ours["extensions"]["payment-identifier"]["info"]["id"], format!("pay_{}", "07".repeat(16)));
    // A challenge that is all extensions gets back only those that matter.
    required["extensions"]["builder-code"]["info"]["a"] = "x".repeat(5000).into();
    let long = Challenge::read(&header(&required), b"").unwrap();
    let ours = sent(draft(&long));
    assert!(ours["extensions"].get("builder-code").is_none() && ours["extensions"].get("farebox").is_some());
}

#[test]
fn typed_data_of_a_draft_is_what_its_digest_is_of() {
    // The message's own members, so that a wallet shows what is signed; the digest is checked by wallets in the rig.
    let data = draft(&challenge(&[offer(json!({}))])).typed_data();
    assert_eq!(data["primaryType"], "TransferWithAuthorization");
    assert_eq!(data["domain"]["verifyingContract"], USDC);
    assert_eq!(data["message"]["value"], "10000");
    assert_eq!(data["message"]["validBefore"], (NOW + 300).to_string());
}
