// The chat as it ran so far: three workers under pm2.
module.exports = {
  apps : [{
    name: 'chatting',
    script: 'worker.js',
    instances: 1,
    autorestart: true,
    watch: true,
    max_memory_restart: '300M',
    env: { NODE_ENV: 'development' },
    env_production: { NODE_ENV: 'production' },
  }, {
    name   : "web",
    script : "./web_worker.js",
    exec_mode: "cluster",
    instances: "max",
    watch: ['web_worker.js', 'public'],
    ignore_watch : ["node_modules", "logs"],
    max_memory_restart: "300M",
    merge_logs: true,
    uid: "www-data",
    gid: 33,
  }, {
    name   : "react",
    script : "react_worker.js",
    max_memory_restart: 314572800,
    watch: false,
    env: { PORT: 4101 }
  }],

  deploy : {
    production : {
      user : 'SSH_USERNAME',
      host : 'SSH_HOSTMACHINE',
      ref  : 'origin/master',
      repo : 'GIT_REPOSITORY',
      path : 'DESTINATION_PATH',
      'post-deploy' : 'npm install && pm2 reload ecosystem.config.js --env production',
    }
  }
};
