package redislock.tests;

import java.util.Arrays;
import redislock.spi.Connector;
import redislock.testing.FakeLockServer;

class FakeContractTest extends LockContract {
    private final FakeLockServer server = new FakeLockServer();

    @Override
    Connector connector() {
        return server.connector();
    }

    @Override
    Object operator(Object... words) {
        return server.execute(Arrays.stream(words).map(Object::toString).toArray(String[]::new));
    }
}
