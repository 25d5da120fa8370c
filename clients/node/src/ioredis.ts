export * from './adapters/ioredis.js';
