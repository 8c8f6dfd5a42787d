import os from 'node:os'

export default {
  apps: [
    { name: 'chat-1', script: 'react_worker.js', env: { PORT: 4001 } },
    { name: 'chat-2', script: 'react_worker.js', env: { PORT: 4001 } },
    { name: 'heavy', script: 'heavy.ts', instances: os.cpus().length - 1 },
  ],
}
