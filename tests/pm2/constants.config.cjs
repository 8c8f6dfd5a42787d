'use strict'
const path = require('node:path')
const { join } = path
require('dotenv').config()

const ROOT = __dirname
const isProd = process.env.NODE_ENV === 'production'
const base = {
  cwd: ROOT,
  interpreter: 'none',
  autorestart: true,
  max_restarts: 3,
  min_uptime: 180000,
  restart_delay: 20000,
  exp_backoff_restart_delay: 5000,
  kill_timeout: 5 * 1000,
  log_date_format: 'YYYY-MM-DD HH:mm:ss Z',
}

module.exports = {
  apps: [
    { ...base, name: `gateway-${1 + 1}`, script: 'pnpm', args: '--filter "@acme/gateway" start', max_memory_restart: '1' + 'G' },
    {
      ...base,
      name: 'profile',
      script: path.join(__dirname, 'services', 'profile', 'dist', 'main.js'),
      interpreter: 'node',
      node_args: ['--max-old-space-size=512', '--enable-source-maps'],
      env: {
        PORT: process.env.PROFILE_PORT || 6502,
        DATABASE_URL: process.env.DATABASE_URL,
        LOG_LEVEL: isProd ? 'warn' : 'debug',
        DATA: join(ROOT, 'public', '..', 'data'),
      },
    },
    { ...base, ...overrides, name: 'mystery', script: process.env.MYSTERY },
    ...['a', 'b'].map((name) => ({ ...base, name, script: `${name}.js` })),
  ],
}
