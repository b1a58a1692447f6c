import type { Gate } from "./gate.js";
import type { Context } from "./types.js";

/** As much of Hono's context as is needed. */
interface HonoContext {
  req: { raw: Request };
  res: Response;
  readonly finalized: boolean;
  readonly executionCtx?: unknown;
}

/** How a gate sits in Hono. */
export interface HonoOptions {
  /**
   * The client's address, for limits, by Hono's context (whose type is not here): on Node
   * `(c) => getConnInfo(c).remote.address`. The gate's own `source` if absent.
   */
  source?: (c: any) => string | undefined;
}

/**
 * The gate as Hono middleware: `app.use(honoMiddleware(gate))`. What it refuses never reaches the handlers; what it lets
 * through, they see as the gate has judged it.
 */
export function honoMiddleware(gate: Gate, options: HonoOptions = {}) {
  return async (c: HonoContext, next: () => Promise<void>): Promise<void> => {
    let outer: Headers | undefined;
    const response = await gate.fetch(
      c.req.raw,
      async (request) => {
        c.req.raw = request;
        outer = new Headers(c.res.headers);
        await next();
        // Else Hono makes an empty 200 of it, which would be charged.
        if (!c.finalized) throw new Error("no handler gave a response");
        return c.res;
      },
      contextOf(c),
      options.source?.(c),
    );
    if (outer !== undefined) replace(c, outer, response);
    else c.res = response;
  };
}

/**
 * Hono merges the fields of a response that is there into the one that replaces it. Of the handlers' none must come again;
 * of those that middleware outside has set, `response` lacks some if it is a refusal.
 */
function replace(c: HonoContext, outer: Headers, response: Response): void {
  const lacking = [...outer].filter(([name]) => !response.headers.has(name));
  (c as { res: Response | undefined }).res = undefined;
  if (lacking.length > 0) c.res = new Response(null, { headers: lacking });
  c.res = response;
}

/** Hono throws if there is none. */
function contextOf(c: HonoContext): Context | undefined {
  try {
    return c.executionCtx as Context | undefined;
  } catch {
    return undefined;
  }
}
