// What farebox is measured against: the official middleware in the same runtime, in front of the same upstream.
import { HTTPFacilitatorClient } from "@x402/core/server";
import { ExactEvmScheme } from "@x402/evm/exact/server";
import { paymentMiddleware, x402ResourceServer } from "@x402/hono";
import { Hono } from "hono";

export class LedgerObject {}

let app;

function made(env) {
  const facilitator = new HTTPFacilitatorClient({ url: env.FACILITATOR_URL });
  const server = new x402ResourceServer(facilitator).register("eip155:84532", new ExactEvmScheme());
  const app = new Hono();
  app.use(
    paymentMiddleware(
      {
        "GET /plain/*": {
          accepts: [{ scheme: "exact", price: "$0.01", network: "eip155:84532", payTo: env.PAYEE }],
          description: "paid",
          mimeType: "application/json",
        },
      },
      server,
    ),
  );
  app.all("*", (c) => env.upstream.fetch(c.req.raw));
  return app;
}

export default {
  fetch(request, env, context) {
    app ??= made(env);
    return app.fetch(request, env, context);
  },
};
