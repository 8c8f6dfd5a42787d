// Much that only running the file would tell: none of it may go in silence.
const pkg = require('./package.json')
const { PORT = 8080 } = process.env
const isProd = process.env.NODE_ENV === 'production'

const config = (module.exports = {
  apps: [
    {
      name: pkg.name,
      version: pkg.version,
      script: './dist/main.js',
      interpreter: process.env.NODE_BIN,
      exec_mode: 'cluster_mode',
      instances: 'max',
      uid: process.env.RUN_AS,
      gid: 'www-data',
      watch: isProd ? false : ['src'],
      ignore_watch: ['node_modules', /\.log$/],
      env: { PORT, URL: `http://localhost:${PORT}/`, SECRET: process.env.SECRET, [pkg.name]: '1' },
      env_production: { NODE_ENV: 'production' },
    },
    { name: 'chatting', script: 'worker.js', user: process.env.RUN_AS, watch: isProd, env: { PORT: isProd ? 80 : 3000 } },
    { name: 'legacy', script: 'old.js', interpreter: 'node@16.20.0', min_uptime: '60s', out_file: '/dev/null' },
    { name: 'files', script: 'serve', env: { PM2_SERVE_PATH: './public', PM2_SERVE_PORT: 8081 } },
  ],
})

config.apps.push({ name: 'late', script: 'late.js' })
