module.exports = [{
  script: 'src/index.js',
  watch: true,
  ignore_watch: 'node_modules',
  watch_delay: 1000,
  uid: 'www-data',
  gid: 33,
}, {
  script: 'bot.py',
  interpreter: '/opt/venv/bin/python3',
  args: ['--verbose', '--name', "o'brien"],
  cwd: '/opt/bot',
  port: 8080,
}, {
  name: 'www', script: './bin/www', namespace: 'site',
}]
