// ES modules: exports by name, an import that only running would know.
import os from 'node:os'

const common = {
  cwd: '/srv/shop',
  max_memory_restart: 300 * 1024 * 1024,
  kill_timeout: 1.5 * 1000,
}

export const apps = [
  { ...common, name: 'shop', script: 'npm', args: 'run start -- --port 3000', instances: os.cpus().length },
  { ...common, name: 'nightly', script: './nightly.sh', cron_restart: '30 4 * * *', autorestart: false, time: true },
]

export const deploy = { production: { user: 'deploy', host: ['shop.example.com'], ref: 'origin/main' } }
