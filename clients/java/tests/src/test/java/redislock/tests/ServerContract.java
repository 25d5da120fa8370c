package redislock.tests;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import redislock.spi.Connector;

/** The contract, with a real server for each class. */
abstract class ServerContract extends LockContract {
    static Server server;

    abstract Library library();

    @BeforeAll
    static void start() {
        server = Server.start();
    }

    @AfterAll
    static void stop() {
        server.close();
    }

    @BeforeEach
    void empty() {
        server.ask("FLUSHALL");
    }

    @Override
    Connector connector() {
        return library().single(server.endpoint());
    }

    @Override
    Object operator(Object... words) {
        return server.ask(words);
    }
}
