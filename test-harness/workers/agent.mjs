// An agent in a worker, with its counters in a Durable Object: POST a URL, and it is fetched and paid for.
import { createAgent, paymentOf, sessionKey } from "farebox/agent";
import { CountersObject, durableObjectStore } from "farebox/agent/durable-object";

export { CountersObject as LedgerObject };

let agent;

export default {
  async fetch(request, env) {
    agent ??= createAgent({
      policy: env.POLICY,
      wallet: sessionKey(env.AGENT_KEY),
      store: durableObjectStore(env.LEDGER),
    });
    if (request.method === "PUT") return Response.json({ begun: await agent.begin() });
    try {
      const response = await agent.fetch(await request.text());
      const body = await response.text();
      return Response.json({ status: response.status, body, payment: paymentOf(response) ?? null });
    } catch (error) {
      return Response.json({ error: { name: error.name, code: error.code, message: error.message, cause: error.cause && String(error.cause) } });
    }
  },
};
