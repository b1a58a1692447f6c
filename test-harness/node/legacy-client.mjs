// The official client of x402 v1, `x402-fetch`, unmodified, with its default limit of 0.10 USDC. This file only hands it
// a `fetch` that takes notes.
//
//   PRIVATE_KEY=0x… node legacy-client.mjs --serve       commands as in wire.mjs
import { createSigner, wrapFetchWithPayment } from "x402-fetch";
import { describeResponse, notingFetch, serve } from "./wire.mjs";

const signer = await createSigner("base-sepolia", process.env.PRIVATE_KEY);

/** Pays for one request, and tells what happened on the wire. */
async function pay({ url, method = "GET", headers = {}, body }) {
  const requests = [];
  const response = await wrapFetchWithPayment(notingFetch(requests), signer)(url, { method, headers, body });
  return describeResponse(response, requests);
}

serve(signer.account.address, { pay });
