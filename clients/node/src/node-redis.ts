export * from './adapters/node-redis.js';
