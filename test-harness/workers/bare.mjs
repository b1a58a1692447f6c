// Nothing but the way to the upstream and back: what any worker costs.
export class LedgerObject {}

export default {
  fetch: (request, env) => env.upstream.fetch(request),
};
