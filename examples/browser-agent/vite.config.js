// `npm run dev` asks a running demo for its facts: DEMO is the address of the page that `cargo xtask demo --keep` prints.
export default {
  build: { target: "es2023", assetsInlineLimit: 0 },
  server: {
    strictPort: true,
    proxy: { "/demo.json": process.env.DEMO ?? "http://127.0.0.1:8402" },
  },
};
