// Verifies tokens and receipts with npm `jose`, by the keys that the gate serves, and x402's signed offers and receipts
// by the document that its `kid` leads to: reads {"jwks", "did", "issuer", "audience", "tokens", "receipts", "x402"} on
// standard input and prints {"tokens": [claims or {"error"}], "receipts": [...], "x402": [...]}.
import { compactVerify, createLocalJWKSet, importJWK, jwtVerify } from "jose";
import { text } from "node:stream/consumers";

const { jwks, did, issuer, audience, tokens, receipts, x402 } = JSON.parse(await text(process.stdin));
const keys = createLocalJWKSet(jwks);
const verify = async (jwt, options) => {
  try {
    return (await jwtVerify(jwt, keys, { issuer, ...options })).payload;
  } catch (error) {
    return { error: error.code ?? String(error) };
  }
};
const byDid = async (jws) => {
  try {
    const { payload, protectedHeader } = await compactVerify(jws, async ({ kid, alg }) => {
      const method = did.verificationMethod.find(({ id }) => id === kid);
      if (!method || !did.assertionMethod.includes(kid)) throw new Error(`no key ${kid}`);
      return importJWK(method.publicKeyJwk, alg);
    });
    if (Object.keys(protectedHeader).sort().join() !== "alg,kid") throw new Error("another header");
    return JSON.parse(new TextDecoder().decode(payload));
  } catch (error) {
    return { error: error.code ?? String(error) };
  }
};
console.log(
  JSON.stringify({
    tokens: await Promise.all(tokens.map((token) => verify(token, { typ: "at+jwt", audience }))),
    receipts: await Promise.all(receipts.map((receipt) => verify(receipt, { typ: "receipt+jwt" }))),
    x402: await Promise.all(x402.map(byDid)),
  }),
);
