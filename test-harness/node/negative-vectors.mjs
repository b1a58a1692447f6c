// Makes core/vectors/signatures.json and core/vectors/jose.json: signatures and tokens that must be refused, and the few
// beside them that must not.
//
//   node negative-vectors.mjs <folder of vectors>
//
// Nothing of farebox takes part: keys, hashes and honest signatures are node:crypto's, points are those of @noble/curves.
import crypto from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { ed25519 } from "@noble/curves/ed25519";
import { secp256k1 } from "@noble/curves/secp256k1";

const folder = process.argv[2];
const known = JSON.parse(readFileSync(`${folder}/tokens.json`)).keys;
const b64u = (bytes) => Buffer.from(bytes).toString("base64url");
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const sha256 = (bytes) => crypto.createHash("sha256").update(bytes).digest();
const sha512 = (bytes) => crypto.createHash("sha512").update(bytes).digest();
const cat = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));

// ---- signatures.json ----------------------------------------------------------------------------------------------

const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const P25519 = 2n ** 255n - 19n;
const le = (number, length = 32) => Buffer.from(Array.from({ length }, (_, index) => Number((number >> BigInt(8 * index)) & 255n)));
const ofLe = (bytes) => [...bytes].reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
const be = (number) => Buffer.from(number.toString(16).padStart(64, "0"), "hex");
const flip = (bytes, index, bit = 1) => Buffer.from(bytes.map((byte, at) => (at === index ? byte ^ bit : byte)));

function eddsa() {
  const message = Buffer.from("farebox");
  const jwk = known.agent.jwk;
  const seed = Buffer.from(jwk.d, "base64url");
  const A = Buffer.from(jwk.x, "base64url");
  const sign = (text) => crypto.sign(null, text, crypto.createPrivateKey({ key: jwk, format: "jwk" }));
  const good = sign(message);
  const [R, S] = [good.subarray(0, 32), good.subarray(32)];
  const secret = ofLe(sha512(seed).subarray(0, 32).map((byte, at) => (at === 0 ? byte & 248 : at === 31 ? (byte & 127) | 64 : byte)));
  const Point = ed25519.ExtendedPoint;
  const challenge = (r, a, m) => ofLe(sha512(cat(r, a, m))) % L;
  // A point of order 8, and one of order 2.
  const torsion = Point.fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05");
  const cases = [];
  const add = (name, signature, changes = {}) => cases.push({ name, public: hex(changes.public ?? A), message: hex(changes.message ?? message), signature: hex(signature), good: false, ...(changes.good && { good: true }) });

  add("an honest signature", good, { good: true });
  const empty = Buffer.alloc(0);
  add("an honest signature over nothing", sign(empty), { message: empty, good: true });
  add("another message", good, { message: Buffer.from("farebok") });
  add("the message twice", good, { message: cat(message, message) });
  add("another key", good, { public: Buffer.from(known.gateway.jwk.x, "base64url") });
  add("the key with its other sign", good, { public: flip(A, 31, 0x80) });
  add("nothing", empty);
  add("half", R);
  add("a byte short", good.subarray(0, 63));
  add("a byte more", cat(good, [0]));
  add("twice", cat(good, good));
  add("halves swapped", cat(S, R));
  add("all zeros", Buffer.alloc(64));
  add("all ones", Buffer.alloc(64, 0xff));
  for (const index of [0, 15, 31, 32, 47, 63]) add(`a bit changed in byte ${index}`, flip(good, index));
  add("R with its other sign", flip(good, 31, 0x80));
  for (const times of [1n, 2n, 7n]) add(`S plus ${times} times the order`, cat(R, le(ofLe(S) + times * L)));
  add("S is the order", cat(R, le(L)));
  add("S is zero", cat(R, le(0n)));
  add("S negated", cat(R, le(L - ofLe(S))));
  for (const bit of [0x20, 0x40, 0x80]) add(`S with bit ${bit} of its last byte`, flip(good, 63, bit));
  // R of small order, with the S that fits: the equation holds, and says nothing about who signed.
  for (const [name, r] of [["the neutral point", le(1n)], ["the neutral point, its y not reduced", le(P25519 + 1n)], ["a point of order 2", le(P25519 - 1n)], ["a point of order 8", Buffer.from(torsion.toRawBytes())]]) {
    add(`R is ${name}`, cat(r, le((challenge(r, A, message) * secret) % L)));
  }
  // R and A off by a point of order 8: good for verifiers that multiply by the cofactor, and for no other.
  const nonce = 0x1234567890abcdefn;
  const mixedR = Buffer.from(Point.BASE.multiply(nonce).add(torsion).toRawBytes());
  add("R off by a point of order 8", cat(mixedR, le((nonce + challenge(mixedR, A, message) * secret) % L)));
  const mixedA = Buffer.from(Point.fromHex(hex(A)).add(torsion).toRawBytes());
  let count = 1n;
  for (; ; count += 1n) {
    const r = Buffer.from(Point.BASE.multiply(nonce + count).toRawBytes());
    const h = challenge(r, mixedA, message);
    if (ofLe(sha512(cat(r, mixedA, message))) % 8n === 0n || h % 8n === 0n) continue;
    add("the key off by a point of order 8", cat(r, le((nonce + count + h * secret) % L)), { public: mixedA });
    break;
  }
  // Keys of small order verify one signature for every message, where they are let.
  for (const [name, a] of [["the neutral point", le(1n)], ["a point of order 2", le(P25519 - 1n)], ["a point of order 4", le(0n)], ["a point of order 8", Buffer.from(torsion.toRawBytes())]]) {
    add(`the key is ${name}, R too, S zero`, cat(le(1n), le(0n)), { public: a });
    const r = Buffer.from(Point.BASE.multiply(5n).toRawBytes());
    add(`the key is ${name}, S the nonce`, cat(r, le(5n)), { public: a });
  }
  add("the key's y is not reduced", cat(le(1n), le(0n)), { public: le(P25519 + 1n) });
  add("the key is off the curve", good, { public: le(2n) });
  add("the key is a byte short", good, { public: A.subarray(0, 31) });
  // The other signatures of RFC 8032 by the same key.
  const dom2 = (phflag, context) => cat("SigEd25519 no Ed25519 collisions", [phflag, context.length], context);
  const variant = (phflag, context, m) => {
    const prefix = sha512(seed).subarray(32);
    const dom = dom2(phflag, Buffer.from(context));
    const r = ofLe(sha512(cat(dom, prefix, m))) % L;
    const bigR = Buffer.from(Point.BASE.multiply(r).toRawBytes());
    return cat(bigR, le((r + (ofLe(sha512(cat(dom, bigR, A, m))) % L) * secret) % L));
  };
  add("Ed25519ph of the message", variant(1, "", sha512(message)));
  add("Ed25519ctx of the message", variant(0, "farebox", message));
  add("of the message's SHA-512", sign(sha512(message)));
  return cases;
}

function es256k() {
  const message = Buffer.from("farebox");
  const jwk = known.wallet.jwk;
  const [x, y, d] = ["x", "y", "d"].map((name) => Buffer.from(jwk[name], "base64url"));
  const n = secp256k1.CURVE.n;
  const p = secp256k1.CURVE.p ?? 2n ** 256n - 2n ** 32n - 977n;
  const of = (bytes) => BigInt(`0x${hex(bytes)}`);
  const mod = (number) => ((number % n) + n) % n;
  const invert = (number) => {
    let [a, b, u, v] = [mod(number), n, 1n, 0n];
    while (a) [a, b, u, v] = [b % a, a, v - (b / a) * u, u];
    return mod(v);
  };
  // As RFC 6979 would not: with a nonce of the caller's, so that both values of s can be had.
  const sign = (hash, k, secret = of(d)) => {
    const r = mod(secp256k1.ProjectivePoint.BASE.multiply(k).toAffine().x);
    const s = mod(invert(k) * (of(hash) + r * secret));
    return { r, low: s > n / 2n ? n - s : s, high: s > n / 2n ? s : n - s };
  };
  const { r, low, high } = sign(sha256(message), 0x1234567890abcdefn);
  const good = cat(be(r), be(low));
  const cases = [];
  const add = (name, signature, changes = {}) => cases.push({ name, x: hex(changes.x ?? x), y: hex(changes.y ?? y), message: hex(changes.message ?? message), signature: hex(signature), good: false, ...(changes.good && { good: true }) });
  add("an honest signature", good, { good: true });
  const one = sign(sha256(message), 1n);
  add("an honest signature whose R is the generator", cat(be(one.r), be(one.low)), { good: true });
  add("an honest signature over nothing", (({ r, low }) => cat(be(r), be(low)))(sign(sha256(""), 77n)), { message: Buffer.alloc(0), good: true });
  add("its twin with s in the upper half", cat(be(r), be(high)));
  add("another message", good, { message: Buffer.from("farebok") });
  add("another key", good, { x: Buffer.from(known.other_wallet.jwk.x, "base64url"), y: Buffer.from(known.other_wallet.jwk.y, "base64url") });
  add("the key negated", good, { y: be(p - of(y)) });
  add("nothing", Buffer.alloc(0));
  add("half", be(r));
  add("a byte short", good.subarray(0, 63));
  add("a byte more", cat(good, [0]));
  add("a recovery id after it, as Ethereum has it", cat(good, [27]));
  add("halves swapped", cat(be(low), be(r)));
  const der = crypto.sign("sha256", message, crypto.createPrivateKey({ key: jwk, format: "jwk" }));
  add("in DER", der);
  add("in DER, cut to 64 bytes", cat(der).subarray(0, 64));
  // r and s at the edges: "psychic" signatures (CVE-2022-21449) and their kin.
  const edges = { "0": 0n, "1": 1n, "the order": n, "the order less 1": n - 1n, "the order and 1": n + 1n, "the prime": p, "2^256 - 1": 2n ** 256n - 1n };
  for (const [nameR, valueR] of Object.entries(edges)) {
    for (const [nameS, valueS] of Object.entries(edges)) add(`r is ${nameR}, s is ${nameS}`, cat(be(valueR), be(valueS)));
    add(`r is ${nameR}`, cat(be(valueR), be(low)));
    add(`s is ${nameR}`, cat(be(r), be(valueR)));
  }
  add("r negated", cat(be(n - r), be(low)));
  add("r and s negated", cat(be(n - r), be(high)));
  if (r + n < 2n ** 256n) add("r plus the order", cat(be(r + n), be(low)));
  for (const index of [0, 15, 31, 32, 47, 63]) add(`a bit changed in byte ${index}`, flip(good, index));
  for (const [name, hash] of [["SHA-512", sha512(message).subarray(0, 32)], ["SHA-256 twice", sha256(sha256(message))], ["SHA3-256", crypto.createHash("sha3-256").update(message).digest()], ["no hash at all", cat(Buffer.alloc(25), message)]]) {
    const other = sign(hash, 0x99n);
    add(`over the message by ${name}`, cat(be(other.r), be(other.low)));
  }
  // A signature that some key verifies can be made for any r and s; it is not this key's.
  const forged = secp256k1.ProjectivePoint.BASE.multiply(3n).add(secp256k1.ProjectivePoint.fromHex(`04${hex(x)}${hex(y)}`).multiply(5n));
  const fr = mod(forged.toAffine().x);
  const fs = mod(fr * invert(5n));
  add("made without the key, for a hash that nobody has the message of", cat(be(fr), be(fs > n / 2n ? n - fs : fs)));
  add("the key is off the curve", good, { y: flip(y, 31) });
  add("the key is nothing", good, { x: be(0n), y: be(0n) });
  add("the key's x is not reduced", good, { x: be(2n ** 256n - 1n) });
  add("the key's halves are swapped", good, { x: y, y: x });
  return cases;
}

// ---- jose.json ----------------------------------------------------------------------------------------------------

const ISS = "https://api.example.com";
const NOW = 1795000020;
const [gateway, agent, wallet] = [known.gateway, known.agent, known.wallet];
const { d: _, ...agentPublic } = agent.jwk;
const URN = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:";
const claims = {
  aud: ISS,
  authorization_details: [{ actions: ["GET"], locations: [ISS], type: "http_call" }],
  client_id: URN + agent.thumbprint,
  cnf: { jwk: { ...agentPublic, alg: "Ed25519" } },
  del_max_depth: 2,
  exp: NOW + 3580,
  iat: NOW - 20,
  iss: ISS,
  jti: "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
  nbf: NOW - 20,
  sub: "eip155:8453:0x857b06519E91e3A54538791bDbb0E22373e36b66",
};
const header = { alg: "EdDSA", kid: gateway.thumbprint, typ: "at+jwt" };
const text = (part) => (typeof part === "string" || Buffer.isBuffer(part) ? part : JSON.stringify(part));
const input = (head, body) => `${b64u(text(head))}.${b64u(text(body))}`;
const privateKey = (key) => crypto.createPrivateKey({ key: key.jwk, format: "jwk" });
const rawSign = (signed, key = gateway) => {
  if (key.jwk.kty === "OKP") return crypto.sign(null, Buffer.from(signed), privateKey(key));
  const signature = crypto.sign("sha256", Buffer.from(signed), { key: privateKey(key), dsaEncoding: "ieee-p1363" });
  const n = secp256k1.CURVE.n;
  const s = BigInt(`0x${hex(signature.subarray(32))}`);
  return cat(signature.subarray(0, 32), be(s > n / 2n ? n - s : s));
};
const jws = (head = header, body = claims, key = gateway) => {
  const signed = input(head, body);
  return `${signed}.${b64u(rawSign(signed, key))}`;
};
const hmac = (alg, secret) => {
  const signed = input({ ...header, alg }, claims);
  return `${signed}.${b64u(crypto.createHmac(alg.replace("HS", "sha"), secret).update(signed).digest())}`;
};
const without = (object, name) => Object.fromEntries(Object.entries(object).filter(([key]) => key !== name));

function jose() {
  const cases = [];
  const add = (name, section, refused, credential) => cases.push({ name, section, refused, credential });
  const good = jws();
  const [h, p, s] = good.split(".");
  const malformed = "token_malformed";
  const signature = "token_bad_signature";
  const walletHeader = { alg: "ES256K", kid: wallet.thumbprint, typ: "at+jwt" };

  add("a good token", "", null, good);
  add("a good token whose algorithm has its new name", "3.1", null, jws({ ...header, alg: "Ed25519" }));
  add("a good token of the issuer's other key", "3.1", null, jws(walletHeader, claims, wallet));
  add("a good token whose type is a whole media type", "3.11", null, jws({ ...header, typ: "application/AT+JWT" }));

  // 3.1 Algorithms are verified, 3.2 and are the right ones.
  for (const alg of ["none", "None", "NONE", "nOnE", ""]) {
    add(`alg "${alg}" without signature`, "3.1", malformed, `${input({ ...header, alg }, claims)}.`);
    add(`alg "${alg}" with the signature`, "3.1", signature, jws({ ...header, alg }));
  }
  add("alg none, kid and all", "3.1", malformed, `${input({ alg: "none" }, claims)}.`);
  add("alg none and 64 zeros", "3.1", signature, `${input({ ...header, alg: "none" }, claims)}.${b64u(Buffer.alloc(64))}`);
  const publicKey = crypto.createPublicKey(privateKey(gateway));
  for (const [name, secret] of [["the public key", Buffer.from(gateway.jwk.x, "base64url")], ["the public key's base64url", gateway.jwk.x], ["the JWK", JSON.stringify(without(gateway.jwk, "d"))], ["the PEM", publicKey.export({ type: "spki", format: "pem" })], ["nothing", ""]]) {
    add(`HMAC by ${name}, 32 bytes`, "2.1", malformed, hmac("HS256", secret));
    add(`HMAC by ${name}, 64 bytes`, "2.1", signature, hmac("HS512", secret));
  }
  for (const alg of ["RS256", "PS256", "ES256", "ES256K", "Ed448", "ES384", "eddsa", "EDDSA", "EdDSA "]) add(`alg "${alg}" for an Ed25519 key`, "3.1", signature, jws({ ...header, alg }));
  for (const alg of ["EdDSA", "ES256", "es256k"]) add(`alg "${alg}" for a secp256k1 key`, "3.1", signature, jws({ ...walletHeader, alg }, claims, wallet));
  for (const alg of [null, 1, ["EdDSA"], { EdDSA: true }]) add(`alg ${JSON.stringify(alg)}`, "3.1", signature, jws({ ...header, alg }));
  add("no alg", "3.1", signature, jws(without(header, "alg")));
  const p256 = crypto.createPrivateKey({ key: crypto.createECDH("prime256v1") && { kty: "EC", crv: "P-256", x: "YP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Y", y: "eQP-EAi4vJmkGunpVii8ZPLxsgwtfp9Rd6PClNRGIpk", d: "yamv2EW6dRZrXCFXZ7HWk05Qw9s26JsSe4piKxIPZyE" }, format: "jwk" });
  const foreign = input({ ...header, alg: "ES256" }, claims);
  add("ES256 by somebody's key", "3.2", signature, `${foreign}.${b64u(crypto.sign("sha256", Buffer.from(foreign), { key: p256, dsaEncoding: "ieee-p1363" }))}`);

  // 3.3 Every operation is verified.
  add("another key's signature", "3.3", signature, jws(header, claims, agent));
  add("the signature of another token", "3.3", signature, `${h}.${input("", { ...claims, jti: "other" }).slice(1)}.${s}`);
  add("a header that was not signed", "3.3", signature, `${b64u(JSON.stringify({ ...header, a: 1 }))}.${p}.${s}`);
  add("signed over the decoded parts", "3.3", signature, `${h}.${p}.${b64u(rawSign(`${JSON.stringify(header)}.${JSON.stringify(claims)}`))}`);
  add("signed over the payload alone", "3.3", signature, `${h}.${p}.${b64u(rawSign(p))}`);
  add("no signature", "3.3", malformed, `${h}.${p}.`);
  add("no third part", "3.3", malformed, `${h}.${p}`);
  add("64 zeros for an Ed25519 key", "3.3", signature, `${h}.${p}.${b64u(Buffer.alloc(64))}`);
  add("64 zeros for a secp256k1 key (CVE-2022-21449)", "3.3", signature, `${input(walletHeader, claims)}.${b64u(Buffer.alloc(64))}`);
  const es = input(walletHeader, claims);
  const low = rawSign(es, wallet);
  const n = secp256k1.CURVE.n;
  add("ES256K with s in the upper half", "3.3", signature, `${es}.${b64u(cat(low.subarray(0, 32), be(n - BigInt(`0x${hex(low.subarray(32))}`))))}`);
  add("ES256K in DER", "3.3", malformed, `${es}.${b64u(crypto.sign("sha256", Buffer.from(es), privateKey(wallet)))}`);
  const L64 = ofLe(Buffer.from(s, "base64url").subarray(32)) + L;
  add("EdDSA with the order added to S", "3.3", signature, `${h}.${p}.${b64u(cat(Buffer.from(s, "base64url").subarray(0, 32), le(L64)))}`);
  add("nested: a token in a token", "3.3", malformed, jws({ ...header, cty: "JWT" }, good));
  add("a signature a byte short", "3.3", malformed, `${h}.${p}.${b64u(Buffer.from(s, "base64url").subarray(0, 63))}`);
  add("a signature a byte longer", "3.3", malformed, `${h}.${p}.${b64u(cat(Buffer.from(s, "base64url"), [0]))}`);

  // 3.4 Inputs of cryptographic operations are validated.
  for (const [name, x] of [["of order 1", le(1n)], ["of order 2", le(P25519 - 1n)], ["not reduced", le(P25519 + 3n)], ["off the curve", le(2n)]]) {
    add(`a holder's key ${name}`, "3.4", malformed, jws(header, { ...claims, cnf: { jwk: { crv: "Ed25519", kty: "OKP", x: b64u(x) } } }));
  }
  const { d: __, ...walletPublic } = wallet.jwk;
  add("a holder's key off its curve", "3.4", malformed, jws(header, { ...claims, cnf: { jwk: { ...walletPublic, y: walletPublic.x } } }));
  add("a holder's key with its secret", "3.4", malformed, jws(header, { ...claims, cnf: { jwk: agent.jwk } }));
  add("a holder's key for another algorithm", "3.4", malformed, jws(header, { ...claims, cnf: { jwk: { ...agentPublic, alg: "ES256K" } } }));
  add("a holder's shared secret", "3.4", malformed, jws(header, { ...claims, cnf: { jwk: { kty: "oct", k: "AAAA" } } }));

  // 3.6 No compression, and nothing else that changes what is read.
  add("zip", "3.6", malformed, jws({ ...header, zip: "DEF" }));
  add("b64 false", "3.6", malformed, jws({ ...header, b64: false, crit: ["b64"] }));
  add("crit", "3.10", malformed, jws({ ...header, crit: ["exp"], exp: NOW + 60 }));
  add("crit of nothing", "3.10", malformed, jws({ ...header, crit: [] }));

  // 3.7 UTF-8, and one reading of every text.
  const body = JSON.stringify(claims);
  add("not UTF-8", "3.7", malformed, jws(header, Buffer.from(body.replace("0198a1b2", "0198\u00e9"), "latin1")));
  add("UTF-16", "3.7", malformed, jws(header, Buffer.from(body, "utf16le")));
  add("a byte order mark", "3.7", malformed, jws(header, Buffer.from(`\ufeff${body}`)));
  add("half a surrogate", "3.7", malformed, jws(header, body.replace("0198a1b2", "\\ud800")));
  add("a claim twice", "3.7", malformed, jws(header, body.replace('"exp":', '"exp":9999999999,"exp":')));
  add("a claim twice, once escaped", "3.7", malformed, jws(header, body.replace('"exp":', '"\\u0065xp":9999999999,"exp":')));
  add("a member twice, deep inside", "3.7", malformed, jws(header, body.replace('"actions":["GET"]', '"actions":["GET"],"actions":["GET","POST"]')));
  add("alg twice", "3.7", malformed, jws(JSON.stringify(header).replace('"alg":"EdDSA"', '"alg":"none","alg":"EdDSA"')));
  add("kid twice", "3.7", malformed, jws(JSON.stringify(header).replace('"kid":', '"kid":"a","kid":')));
  add("something after the payload", "3.7", malformed, jws(header, `${body} {}`));
  add("a payload that is a list", "3.7", malformed, jws(header, [claims]));
  add("a payload that is a text", "3.7", malformed, jws(header, JSON.stringify(body)));
  add("a payload that is nothing", "3.7", malformed, jws(header, ""));
  add("nested deep", "3.7", malformed, jws(header, body.replace('"jti":', `"act":{"sub":"a","act":${"[".repeat(40)}${"]".repeat(40)}},"jti":`)));
  add("longer than 8 KiB", "3.7", "token_too_large", jws(header, { ...claims, scope: "a".repeat(8192) }));
  add("padding after the header", "3.7", malformed, `${h}=.${p}.${s}`);
  add("padding after the signature", "3.7", malformed, `${good}==`);
  add("bits left over in the signature", "3.7", malformed, `${good.slice(0, -1)}${String.fromCharCode(good.charCodeAt(good.length - 1) + 1)}`);
  add("a line break", "3.7", malformed, `${h}.${p.slice(0, 20)}\n${p.slice(20)}.${s}`);
  add("a space before it", "3.7", malformed, ` ${good}`);
  add("the other alphabet of base64", "3.7", malformed, `${h}.${p}.${b64u(Buffer.alloc(64, 0xfb)).replaceAll("-", "+").replaceAll("_", "/")}`);
  add("JSON serialization", "3.7", malformed, JSON.stringify({ protected: h, payload: p, signature: s }));
  add("five parts, as an encrypted token", "3.7", malformed, `${good}.${h}.${p}`);
  add("four parts", "3.7", malformed, `${good}.${s}`);
  add("nothing", "3.7", malformed, "");
  add("dots", "3.7", malformed, "..");
  for (const [name, value] of [["a text", String(claims.exp)], ["a fraction", "1795003600.5"], ["with a fraction of nothing", "1795003600.0"], ["with an exponent", "1795003600e0"], ["negative", "-1"], ["huge", "1e999"], ["beyond 2^53", "9007199254740993"], ["null", "null"], ["true", "true"]]) {
    add(`exp ${name}`, "3.7", malformed, jws(header, body.replace(`"exp":${claims.exp}`, `"exp":${name === "a text" ? JSON.stringify(value) : value}`)));
  }

  // 3.8 Issuer and subject, 3.9 audience, and time.
  add("another issuer", "3.8", "token_wrong_issuer", jws(header, { ...claims, iss: "https://thief.example" }));
  add("an issuer that begins like ours", "3.8", "token_wrong_issuer", jws(header, { ...claims, iss: `${ISS}.thief.example` }));
  add("a list of issuers", "3.8", malformed, jws(header, { ...claims, iss: [ISS] }));
  for (const name of ["iss", "aud", "sub", "client_id", "iat", "nbf", "exp", "jti", "authorization_details"]) add(`no ${name}`, "3.8", malformed, jws(header, without(claims, name)));
  add("an audience of nobody", "3.9", malformed, jws(header, { ...claims, aud: [] }));
  add("expired", "4", "token_expired", jws(header, { ...claims, exp: NOW }));
  add("not yet valid", "4", "token_not_yet_valid", jws(header, { ...claims, nbf: NOW + 1 }));
  add("made in the future", "4", "token_not_yet_valid", jws(header, { ...claims, iat: NOW + 1 }));
  add("over before it was made", "4", malformed, jws(header, { ...claims, exp: NOW - 20 }));

  // 3.10 What a token says about keys is not believed.
  const theirs = { ...agentPublic, alg: "EdDSA", use: "sig", kid: agent.thumbprint };
  add("a key in the header", "3.10", signature, jws({ ...header, jwk: theirs }, claims, agent));
  add("a key in the header, and its name", "3.10", "token_unknown_key", jws({ ...header, kid: agent.thumbprint, jwk: theirs }, claims, agent));
  add("an address of keys in the header", "3.10", signature, jws({ ...header, jku: "https://thief.example/jwks.json" }, claims, agent));
  add("an address of certificates in the header", "3.10", signature, jws({ ...header, x5u: "https://169.254.169.254/" }, claims, agent));
  add("certificates in the header", "3.10", signature, jws({ ...header, x5c: [publicKey.export({ type: "spki", format: "der" }).toString("base64")] }, claims, agent));
  for (const kid of ["", "../../../../dev/null", "' UNION SELECT 'key' --", "https://thief.example/", gateway.thumbprint.toLowerCase(), `${gateway.thumbprint}\u0000`, agent.thumbprint]) add(`kid ${JSON.stringify(kid)}`, "3.10", "token_unknown_key", jws({ ...header, kid }));
  for (const kid of [null, 1, [gateway.thumbprint], { kid: gateway.thumbprint }]) add(`kid ${JSON.stringify(kid)}`, "3.10", "token_unknown_key", jws({ ...header, kid }));
  add("no kid", "3.10", "token_unknown_key", jws(without(header, "kid")));

  // 3.11 Types, 3.12 and kinds of tokens that do not stand for one another.
  for (const typ of ["JWT", "jwt", "receipt+jwt", "dpop+jwt", "admin+jwt", "sth+jwt", "at+jwt+x", "at", "", null, ["at+jwt"]]) add(`typ ${JSON.stringify(typ)}`, "3.11", malformed, jws({ ...header, typ }));
  add("no typ", "3.11", malformed, jws(without(header, "typ")));
  add("an ID token", "3.12", malformed, jws({ ...header, typ: "JWT" }, { iss: ISS, aud: "client", sub: "user", exp: claims.exp, iat: claims.iat, nonce: "n" }));
  add("an access token without a grant", "3.12", malformed, jws(header, without({ ...claims, scope: "admin" }, "authorization_details")));
  const childClaims = (parent, changes = {}) => ({ aud: ISS, authorization_details: claims.authorization_details, cnf: { jwk: theirsOf(walletPublic) }, del_depth: 1, exp: claims.exp, iat: NOW, iss: URN + agent.thumbprint, jti: "child", par_hash: b64u(sha256(parent.slice(0, parent.lastIndexOf(".")))), ...changes });
  const theirsOf = (key) => ({ ...key, alg: key.crv === "Ed25519" ? "Ed25519" : "ES256K" });
  const child = (changes = {}, key = agent, head = { alg: "EdDSA", typ: "at+jwt" }, parent = good) => jws(head, childClaims(parent, changes), key);
  add("a good delegation", "", null, `${good}~${child()}`);
  add("a delegation alone", "3.12", malformed, child());
  add("a delegation before its root", "3.12", malformed, `${child()}~${good}`);
  add("a root as a delegation", "3.12", malformed, `${good}~${jws(header, { ...claims, jti: "other" })}`);
  add("a delegation signed by the issuer", "3.3", signature, `${good}~${child({}, gateway)}`);
  add("a delegation signed by its own holder", "3.3", signature, `${good}~${child({}, wallet)}`);
  add("a delegation whose alg is another key's", "3.1", signature, `${good}~${child({}, agent, { alg: "ES256K", typ: "at+jwt" })}`);
  add("a delegation without signature", "3.3", malformed, `${good}~${input({ alg: "none", typ: "at+jwt" }, childClaims(good))}.`);
  add("a delegation by HMAC with the holder's public key", "2.1", malformed, `${good}~${((signed) => `${signed}.${b64u(crypto.createHmac("sha256", Buffer.from(agent.jwk.x, "base64url")).update(signed).digest())}`)(input({ alg: "HS256", typ: "at+jwt" }, childClaims(good)))}`);
  add("a delegation that brings its key along", "3.10", signature, `${good}~${child({}, wallet, { alg: "EdDSA", typ: "at+jwt", jwk: walletPublic })}`);
  add("a delegation of another root", "3.3", "token_bad_link", `${good}~${child({}, agent, undefined, jws(header, { ...claims, jti: "other" }))}`);
  add("a delegation of the root's text, not of what was signed", "3.3", "token_bad_link", `${good}~${child({ par_hash: b64u(sha256(good)) })}`);
  add("a delegation that lasts longer", "3.12", "token_wider", `${good}~${child({ exp: claims.exp + 1 })}`);
  add("a delegation that allows more", "3.12", "token_wider", `${good}~${child({ authorization_details: [{ ...claims.authorization_details[0], actions: ["GET", "POST"] }] })}`);
  add("a delegation that names another payer", "3.12", malformed, `${good}~${child({ sub: "eip155:8453:0x0000000000000000000000000000000000000001" })}`);
  add("five links", "3.12", "token_too_many_links", `${good}${`~${child()}`.repeat(4)}`);
  add("a tilde after it", "3.7", malformed, `${good}~`);
  add("a tilde before it", "3.7", malformed, `~${good}`);
  return { how: "test-harness/node/negative-vectors.mjs; the ideas are RFC 8725's (`section`) and those of Wycheproof's JOSE files", iss: ISS, now: NOW, keys: ["gateway", "wallet"], cases };
}

const how = (source) => `test-harness/node/negative-vectors.mjs; the ideas are those of ${source}`;
writeFileSync(
  `${folder}/signatures.json`,
  `${JSON.stringify(
    {
      EdDSA: { how: how("Wycheproof's ed25519_test and of \"Taming the many EdDSAs\" (Chalkias, Garillot, Nikolaenko 2020)"), cases: eddsa() },
      ES256K: { how: how("Wycheproof's ecdsa_secp256k1_sha256_p1363_test, with s in the lower half demanded"), cases: es256k() },
    },
    null,
    1,
  )}\n`,
);
writeFileSync(`${folder}/jose.json`, `${JSON.stringify(jose(), null, 1)}\n`);
