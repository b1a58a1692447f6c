// Verifies tokens and receipts with npm `jose`, by the keys that the gate serves: reads {"jwks", "issuer", "audience",
// "tokens", "receipts"} on standard input and prints {"tokens": [claims or {"error"}], "receipts": [...]}.
import { createLocalJWKSet, jwtVerify } from "jose";
import { text } from "node:stream/consumers";

const { jwks, issuer, audience, tokens, receipts } = JSON.parse(await text(process.stdin));
const keys = createLocalJWKSet(jwks);
const verify = async (jwt, options) => {
  try {
    return (await jwtVerify(jwt, keys, { issuer, ...options })).payload;
  } catch (error) {
    return { error: error.code ?? String(error) };
  }
};
console.log(
  JSON.stringify({
    tokens: await Promise.all(tokens.map((token) => verify(token, { typ: "at+jwt", audience }))),
    receipts: await Promise.all(receipts.map((receipt) => verify(receipt, { typ: "receipt+jwt" }))),
  }),
);
