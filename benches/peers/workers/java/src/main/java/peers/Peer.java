package peers;

import java.util.List;

/** A library of locks, connected and set up for one job. */
interface Peer {
    /** Called once for each client before any of them begins. */
    Client client(String key) throws Exception;

    /** Called when all clients have ended. */
    void close() throws Exception;

    /** The lock as one client has it. Its own thread alone calls this, but for giveUp. */
    interface Client {
        /** Waits without limit. False if the library gave up: then it is called again. */
        boolean acquire() throws Exception;

        void release() throws Exception;

        /**
         * Makes acquire end with an exception. Called from another thread while nobody can be
         * granted the lock, again and again until it has.
         */
        void giveUp(Thread waiting);
    }

    /** What the report says about a peer. */
    record About(
            String peer,
            String row,
            String library,
            String version,
            String client,
            String settings,
            List<String> links) {}

    @FunctionalInterface
    interface Maker {
        Peer connect(Job job) throws Exception;
    }

    /** A peer with the settings of one row. */
    record Entry(About about, Maker maker) {}
}
