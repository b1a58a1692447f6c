// Prints an RSA key set and a token that it signed, for Envoy's jwt_authn: {"jwks", "token"}.
import { generateKeyPairSync, sign } from "node:crypto";

const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const jwk = { ...publicKey.export({ format: "jwk" }), kid: "bench", alg: "RS256", use: "sig" };
const part = (json) => Buffer.from(JSON.stringify(json)).toString("base64url");
const now = Math.floor(Date.now() / 1000);
const claims = { iss: "https://bench.example", sub: "eip155:84532:0x70997970C51812dc3A010C7d01b50e0d17dc79C8", iat: now, exp: now + 86400 };
const input = `${part({ alg: "RS256", kid: "bench", typ: "JWT" })}.${part(claims)}`;
const signature = sign("sha256", Buffer.from(input), privateKey).toString("base64url");
console.log(JSON.stringify({ jwks: { keys: [jwk] }, token: `${input}.${signature}` }));
