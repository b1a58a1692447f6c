# For workerd on your own machine: npm start. On Cloudflare, wrangler.jsonc says the same.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
    (name = "objects", disk = (path = "objects", writable = true)),
  ],
  sockets = [(name = "http", address = "localhost:8787", http = (), service = "worker")]
);

const worker :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "dist/worker.js"),
    (name = "farebox_gate_bg.wasm", wasm = embed "dist/farebox_gate_bg.wasm"),
  ],
  compatibilityDate = "2026-11-01",
  # Without it a worker is not told that its client has gone.
  compatibilityFlags = ["enable_request_signal"],
  durableObjectNamespaces = [(className = "LedgerObject", uniqueKey = "farebox", enableSql = true)],
  durableObjectStorage = (localDisk = "objects"),
  bindings = [
    (name = "LEDGER", durableObjectNamespace = "LedgerObject"),
    (name = "API", fromEnvironment = "API"),
  ]
);
