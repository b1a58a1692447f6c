// Compiles every .sol file of a folder with the pinned solc and writes one JSON file:
//   { "<Contract>": { "abi": [...], "creation": "0x…", "runtime": "0x…", "selectors": { "name": "12345678" } }, … }
// A .hex file is the runtime code of the contract it is named after; lines that begin with # are comments in it.
//
//   node compile.mjs CONTRACTS_DIR OUT.json
//
// Errors and warnings of the compiler go to stderr; any error, and any warning, is a failure.
import { readFileSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import solc from "solc";

const [contractsDir, outFile] = process.argv.slice(2);
if (!contractsDir || !outFile) {
  console.error("usage: node compile.mjs CONTRACTS_DIR OUT.json");
  process.exit(2);
}

const sources = Object.fromEntries(
  readdirSync(contractsDir)
    .filter((file) => file.endsWith(".sol"))
    .map((file) => [file, { content: readFileSync(join(contractsDir, file), "utf8") }]),
);

const output = JSON.parse(
  solc.compile(
    JSON.stringify({
      language: "Solidity",
      sources,
      settings: {
        evmVersion: "cancun",
        viaIR: true,
        optimizer: { enabled: true, runs: 1000 },
        metadata: { bytecodeHash: "none" },
        outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.methodIdentifiers"] } },
      },
    }),
  ),
);

const complaints = (output.errors ?? []).filter((entry) => entry.severity !== "info");
for (const complaint of complaints) console.error(complaint.formattedMessage);
if (complaints.length > 0) process.exit(1);

const contracts = {};
for (const file of Object.values(output.contracts)) {
  for (const [name, { abi, evm }] of Object.entries(file)) {
    contracts[name] = {
      abi,
      creation: `0x${evm.bytecode.object}`,
      runtime: `0x${evm.deployedBytecode.object}`,
      // Of functions with one name, the last: the rig calls none of those by name.
      selectors: Object.fromEntries(Object.entries(evm.methodIdentifiers).map(([f, id]) => [f.slice(0, f.indexOf("(")), id])),
    };
  }
}

for (const file of readdirSync(contractsDir).filter((file) => file.endsWith(".hex"))) {
  const lines = readFileSync(join(contractsDir, file), "utf8").split("\n");
  const runtime = `0x${lines.filter((line) => !line.startsWith("#")).join("")}`;
  contracts[file.slice(0, -4)] = { abi: [], creation: "0x", runtime, selectors: {} };
}

// A reader never sees half a file.
const partFile = `${outFile}.${process.pid}.part`;
writeFileSync(partFile, JSON.stringify(contracts));
renameSync(partFile, outFile);
