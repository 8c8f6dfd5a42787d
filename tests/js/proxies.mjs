// Real proxies in front of a server: TLS ends in them, and they keep their connections to it.
import { get } from "node:https";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { certificate, freePort, run, until } from "./helpers.mjs";

const nginx = (dir, port, { host }, { cert, key }) => `daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log stderr;
events { worker_connections 512; }
http {
  access_log off;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${dir}/${kind};`).join("\n  ")}
  map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
  upstream chat { server ${host}; keepalive 8; }
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${cert};
    ssl_certificate_key ${key};
    location / {
      proxy_pass http://chat;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $host;
      proxy_read_timeout 1h;
    }
  }
}`;

const haproxy = (_dir, port, { host }, { pem }) => `global
  maxconn 500
  log stderr format raw local0
defaults
  mode http
  log global
  option httplog
  option dontlog-normal
  timeout connect 10s
  timeout client 1m
  timeout server 1m
  timeout tunnel 1h
  retries 0
frontend public
  bind 127.0.0.1:${port} ssl crt ${pem}
  default_backend chat
backend chat
  http-reuse always
  server chat ${host}
`;

/** The ones there are. */
export const PROXIES = [
  { name: "nginx", program: "/usr/sbin/nginx", config: nginx, args: (file) => ["-c", file, "-e", "stderr"] },
  { name: "HAProxy", program: "/usr/sbin/haproxy", config: haproxy, args: (file) => ["-db", "-f", file] },
].map((proxy) => ({ ...proxy, installed: existsSync(proxy.program) }));

/** The server, as it is reached through this proxy. */
export async function behind(t, server, { name, program, config, args }) {
  const [port, files] = [await freePort(), await certificate(server.dir, name)];
  const pem = join(server.dir, `${name}.pem`);
  writeFileSync(pem, `${readFileSync(files.cert)}${readFileSync(files.key)}`);
  const file = join(server.dir, `${name}.conf`);
  writeFileSync(file, config(server.dir, port, new URL(server.url), { ...files, pem }));
  const proxy = run(t, server.dir, args(file), program);
  const options = { ca: readFileSync(files.cert), agent: undefined };
  const proxied = {
    ...server,
    url: `https://127.0.0.1:${port}`,
    options,
    /** What either has said; of what went well the proxy says nothing. */
    get log() {
      return `${server.log}\n${name}:\n${proxy.log}`;
    },
  };
  await until(name, () => {
    if (proxy.child.exitCode !== null) throw new Error(proxy.log);
    return answers(port, options.ca);
  });
  return proxied;
}

/** Whether somebody does, by TLS and with this certificate. */
const answers = (port, ca) => new Promise((done) => {
  const asked = get({ port, host: "127.0.0.1", path: "/healthz", ca, agent: false }, ({ statusCode }) => done(statusCode === 200));
  asked.on("error", () => done(false));
});
