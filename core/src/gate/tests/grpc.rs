//! gRPC clients: refusals are statuses, challenges are metadata.

use super::*;

fn call(host: &TestHost, gate: &Rc<Gate>, path: &str, kind: &str, more: &[(&str, &str)]) -> Reply {
    let mut fields = vec![("content-type", kind), ("te", "trailers")];
    fields.extend_from_slice(more);
    host.send(gate, request("POST", path, &fields)).reply().unwrap()
}

fn message(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).unwrap()
}

#[test]
fn a_challenge_to_a_grpc_client_is_a_status_with_the_offers_as_metadata() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    for kind in ["application/grpc", "application/grpc+proto"] {
        let reply = call(&host, &gate("after"), "/premium-data", kind, &[]);
        assert_eq!((reply.status, reply.grpc_status), (402, Some(9)));
        assert_eq!(decoded(&reply, "payment-required")["accepts"][0]["amount"], "10000");
        assert_eq!(header(&reply, "content-type"), Some("application/grpc"));
        assert_eq!(message(&reply), "payment_required: this route costs something; see PAYMENT-REQUIRED");
    }
    for kind in ["application/grpc-web", "application/grpc-web+proto", "application/json"] {
        let reply = call(&host, &gate("after"), "/premium-data", kind, &[]);
        assert_eq!((reply.grpc_status, code(&reply).as_str()), (None, "payment_required"), "{kind}");
    }
    assert!(host.forwarded().is_empty());
}

#[test]
fn every_refusal_has_a_grpc_status() {
    let host = TestHost::new(NOW, honest, upstream("200"));
    let gate = gate("after");
    assert_eq!(
        call(&host, &gate, "/premium-data", "application/grpc", &[("payment-signature", &payment())]).status,
        200
    );
    for (path, more, status, said) in [
        ("/nothing", vec![], 12, "no_route"),
        ("/denied", vec![], 7, "route_denied"),
        ("/a//b", vec![], 3, "bad_path"),
        ("/premium-data", vec![("payment-signature", "x")], 3, "payment_malformed"),
    ] {
        let reply = call(&host, &gate, path, "application/grpc", &more);
        assert_eq!(reply.grpc_status, Some(status), "{path}");
        assert!(message(&reply).starts_with(&format!("{said}: ")), "{}", message(&reply));
    }
    let used = call(&host, &gate, "/premium-data", "application/grpc", &[("payment-signature", &payment())]);
    assert_eq!((used.grpc_status, header(&used, "payment-required")), (Some(10), None));
    for code in crate::problem::Code::ALL {
        let expected = match code.status() {
            402 | 412 => 9,
            401 => 16,
            403 => 7,
            404 | 405 => 12,
            409 => 10,
            429 => 8,
            502 | 503 => 14,
            400 | 414 | 421 => 3,
            other => panic!("{other} has no gRPC status: {code:?}"),
        };
        assert_eq!(code.grpc_status(), expected);
    }
}

#[test]
fn a_refusal_in_the_upstreams_place_is_a_grpc_status_too() {
    let lost = |call: &Callout| if call.path == "/settle" { Some(Err(CalloutError::Lost)) } else { honest(call) };
    let host = TestHost::new(NOW, lost, upstream("200"));
    let reply = call(&host, &gate("after"), "/premium-data", "application/grpc", &[("payment-signature", &payment())]);
    assert_eq!((reply.status, reply.grpc_status), (503, Some(14)));
    assert!(message(&reply).starts_with("outcome_unknown: "));
    assert_eq!(header(&reply, "retry-after"), Some("5"));
}
