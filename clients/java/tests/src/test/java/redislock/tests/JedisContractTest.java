package redislock.tests;

class JedisContractTest extends ServerContract {
    @Override
    Library library() {
        return Library.JEDIS;
    }
}
