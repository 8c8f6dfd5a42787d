const pkg = require('./package.json')

function app (env, port) {
  return { name: `${pkg.name}_${env}`, script: 'dist/main.js', env: { PORT: port } }
}

module.exports = {
  apps: [app('production', 3000), app('staging', 3100), { name: 'cron', script: 'cron.sh', watch: './', interpreter: 'bash' }]
}
if (process.env.EXTRA) module.exports.apps.push({ name: 'extra', script: 'extra.js' })
