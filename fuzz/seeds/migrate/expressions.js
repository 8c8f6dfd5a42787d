const { join } = require("path"); const port = 3000 + 1;
const base = { script: "./a.js", env: { PORT: port, NAME: `x${port}y`, ...process.env, H: 0x1f, N: null, B: !0 } };
module.exports = { apps: ["a", "b"].map((name, i) => ({ ...base, name, args: ["--x", 'it\'s'], max_memory_restart: 1e9, instances: i ? 2 : "max" })) };
module.exports.apps[0].cwd = join(__dirname, "..", "x"); function f() { return [1,,2] }
