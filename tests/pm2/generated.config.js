module.exports = {
  /**
   * Application configuration section
   * http://pm2.keymetrics.io/docs/usage/application-declaration/
   */
  apps : [

    // First application
    {
      name      : 'API',
      script    : 'app.js',
      env: {
        COMMON_VARIABLE: 'true'
      },
      env_production : {
        NODE_ENV: 'production'
      }
    },

    // Second application
    {
      name      : 'WEB',
      script    : 'web.js'
    }
  ],

  /* Deployment section */
  deploy : {
    production : {
      user : 'node',
      host : '212.83.163.1',
      'post-deploy' : 'npm install && pm2 reload ecosystem.config.js --env production'
    },
    dev : { user : 'node', env  : { NODE_ENV: 'dev' } }
  }
};
