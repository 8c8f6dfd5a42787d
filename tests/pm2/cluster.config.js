module.exports = {
  apps: [
    {
      name: 'api',
      script: './dist/main.js',
      exec_mode: 'cluster_mode',
      instances: 'max',
      instance_var: 'INSTANCE_ID',
      node_args: '-r ./tsconfig-paths-bootstrap.js -r dotenv-safe/config',
      wait_ready: true,
      listen_timeout: 10000,
      kill_timeout: '3000',
      time: true,
      output: './logs/access.log',
      error: './logs/error.log',
      max_memory_restart: '1G',
      env: { PORT: 3000, NODE_ENV: 'development', 'DEBUG': "api:*,-api:db" },
      env_production: { PORT: 80, NODE_ENV: 'production' },
    },
    {
      name: 'delete temp cohorts',
      script: 'src/scripts/delete_temp_cohorts.js',
      cron_restart: '0 * * * *', // minute 0 of every hour
      autorestart: false,
      stop_exit_codes: [0],
    },
    { name: 'tunnel', script: 'cloudflared', args: 'tunnel --url http://localhost:3001', exp_backoff_restart_delay: 5000 },
  ],
}
