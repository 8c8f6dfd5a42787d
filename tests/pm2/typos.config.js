module.exports = {
  apps: [{
    name: "front",
    script: "npm",
    args: "run start",
    cwd: "./"
    max_memory_restart: 'lots',
    cron_restart: 'every night',
    kill_timeout: true,
    colour: 'blue',
  }, {
    name: "front",
    script: "npm run worker -- --fast",
    autostart: false,
  }, {
    name: 'no script at all',
  }]
}
