// Verifies tokens as CDP would, with node:crypto: reads {"public": {alg: JWK}, "tokens": {alg: token}} on standard
// input and prints {alg: {"valid", "header", "claims"}}.
import { createPublicKey, verify } from "node:crypto";
import { text } from "node:stream/consumers";

const { public: keys, tokens } = JSON.parse(await text(process.stdin));
const read = (part) => JSON.parse(Buffer.from(part, "base64url").toString());
const results = {};
for (const [alg, token] of Object.entries(tokens)) {
  const [header, claims, signature] = token.split(".");
  const key = { key: createPublicKey({ key: keys[alg], format: "jwk" }), dsaEncoding: "ieee-p1363" };
  const hash = alg === "EdDSA" ? null : "sha256";
  const valid = verify(hash, Buffer.from(`${header}.${claims}`), key, Buffer.from(signature, "base64url"));
  results[alg] = { valid, header: read(header), claims: read(claims) };
}
console.log(JSON.stringify(results));
