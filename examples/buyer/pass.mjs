// Buys a pass with the official x402 client, bound to a key of its own, and makes three calls with it.
//
//   npm install
//   PRIVATE_KEY=0x… node pass.mjs http://localhost:8080/reports/1
//
// The first key pays. The second one holds the token: without it a stolen token is worth nothing. Here it lives as long
// as the program; keep it where you keep the token.
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { privateKeyToAccount } from "viem/accounts";

const url = process.argv.at(-1);
const holder = generateKeyPairSync("ed25519");

// An HTTP message signature (RFC 9421) over method, URL and the field that carries the credential. A request with a body
// covers "content-digest" too.
function signed(headers, field, tag, introduce) {
  const created = Math.floor(Date.now() / 1000);
  let parameters = `("@method" "@target-uri" "${field}");created=${created};nonce="${randomBytes(16).toString("base64url")}";tag="${tag}"`;
  if (introduce) {
    const { x } = holder.publicKey.export({ format: "jwk" });
    parameters += `;alg="ed25519";pub=:${Buffer.from(x, "base64url").toString("base64")}:`;
  }
  const base = `"@method": GET\n"@target-uri": ${url}\n"${field}": ${headers.get(field)}\n"@signature-params": ${parameters}`;
  headers.set("signature-input", `sig1=${parameters}`);
  headers.set("signature", `sig1=:${sign(null, Buffer.from(base), holder.privateKey).toString("base64")}:`);
  return headers;
}

// The paying request introduces the key: what it buys is bound to it.
const introducing = (input, init) => {
  const request = new Request(input, init);
  if (request.headers.has("payment-signature")) {
    signed(request.headers, "payment-signature", "httpsig-oauth-token-request", true);
  }
  return fetch(request);
};
// Of the offers that it may pay take the pass. Without `setSpendControls` the client pays at most $1 at once.
const client = new x402Client((_version, offers) => {
  const pass = offers.find((offer) => offer.extra?.pass);
  if (!pass) throw new Error("no pass is sold here, or it is too dear");
  return pass;
});
client.setSpendControls({ maxAmountPerPayment: "$5" });
registerExactEvmScheme(client, { signer: privateKeyToAccount(process.env.PRIVATE_KEY) });
const bought = await wrapFetchWithPayment(introducing, client)(url);
const token = bought.headers.get("capability-token");
if (!token) throw new Error(`${bought.status} ${await bought.text()}`);

for (let call = 0; call < 3; call++) {
  const headers = signed(new Headers({ authorization: `HTTPSig ${token}` }), "authorization", "httpsig-oauth");
  const response = await fetch(url, { headers });
  await response.arrayBuffer();
  console.log(response.status, response.headers.get("farebox-remaining"));
}
