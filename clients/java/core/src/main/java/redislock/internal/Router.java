package redislock.internal;

import java.util.List;
import java.util.concurrent.CompletableFuture;

/** Knows the primary of each slot. Where there are no slots, any number will do. */
interface Router {
    /** The primary. Others are asked for it if need be; a LinkException if nobody knows. */
    CompletableFuture<Node> node(int slot);

    /** The primary as far as it is known without asking, or null. */
    Node known(int slot);

    /** The node failed, or said that it is not the primary. */
    void doubt(Node node);

    /** A node said that the slot is at another one. */
    void moved(int slot, Node node);

    /** Something waits at this node. Closes it if others have made another server the primary in its place. */
    void look(Node node, boolean alive);

    /** All primaries. */
    CompletableFuture<List<Node>> primaries();

    /** Ends what the router itself has open. */
    default void close() {}

    /** The router of one server. */
    record Single(Node node) implements Router {
        @Override
        public CompletableFuture<Node> node(int slot) {
            return CompletableFuture.completedFuture(node);
        }

        @Override
        public Node known(int slot) {
            return node;
        }

        @Override
        public void doubt(Node node) {}

        @Override
        public void moved(int slot, Node node) {}

        @Override
        public void look(Node node, boolean alive) {}

        @Override
        public CompletableFuture<List<Node>> primaries() {
            return CompletableFuture.completedFuture(List.of(node));
        }
    }
}
