// The official `@x402/axios` client with the official EVM schemes of its own release, unmodified. This file only hands
// it an adapter that takes notes.
//
//   PRIVATE_KEY=0x… node axios-client.mjs --serve        commands as in wire.mjs
import { wrapAxiosWithPayment, x402Client } from "@x402/axios";
import axios, { AxiosHeaders } from "axios";
import { privateKeyToAccount } from "viem/accounts";
import { registerExactEvmScheme } from "x402-evm-2.11/exact/client";
import { UptoEvmScheme } from "x402-evm-2.11/upto/client";
import { notePayment, readChallenge, readReceipt, serve } from "./wire.mjs";

const account = privateKeyToAccount(process.env.PRIVATE_KEY);
const client = new x402Client();
registerExactEvmScheme(client, { signer: account });
client.register("eip155:*", new UptoEvmScheme(account));

/** Pays for one request, and tells what happened on the wire. */
async function pay({ url, method = "GET", headers = {}, body }) {
  const requests = [];
  const send = axios.getAdapter("http");
  const adapter = async (config) => {
    const note = notePayment((name) => AxiosHeaders.from(config.headers).get(name));
    requests.push(note);
    try {
      return noteResponse(note, await send(config));
    } catch (error) {
      if (error.response) noteResponse(note, error.response);
      throw error;
    }
  };
  const instance = wrapAxiosWithPayment(axios.create({ adapter, proxy: false }), client);
  let response;
  try {
    response = await instance.request({ url, method, headers, data: body });
  } catch (error) {
    if (!error.response) throw error;
    response = error.response; // any status that is not 2xx
  }
  const received = { ...response.headers };
  return {
    status: response.status,
    headers: received,
    body: toText(response.data),
    paymentResponse: readReceipt(received),
    requests,
  };
}

function noteResponse(note, response) {
  note.status = response.status;
  note.headers = { ...response.headers };
  note.paymentRequired = readChallenge(response.status, note.headers, toText(response.data));
  return response;
}

/** Axios gives JSON as an object. */
function toText(data) {
  return typeof data === "string" ? data : JSON.stringify(data);
}

serve(account.address, { pay });
