package redislock.internal;

import static redislock.internal.Request.command;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

import redislock.spi.Deployment;
import redislock.spi.Endpoint;
import redislock.spi.LinkException;
import redislock.spi.LinkRequest.Purpose;

/** Asks Sentinels for the primary. */
final class SentinelRouter extends Refreshed {
    private static final long YOUNGEST = 150;

    private final String service;
    private final List<Endpoint> sentinels;
    private volatile Node primary;
    private volatile Channel channel;

    SentinelRouter(Engine engine, Deployment deployment) {
        super(engine);
        this.service = deployment.service();
        this.sentinels = new ArrayList<>(deployment.endpoints());
    }

    @Override
    public CompletableFuture<Node> node(int slot) {
        if (primary != null && !doubtful) {
            return CompletableFuture.completedFuture(primary);
        }
        return refresh(engine.options.jitter().applyAsLong(YOUNGEST / 2, YOUNGEST)).thenApply(done -> {
            if (primary == null) {
                throw new LinkException("no Sentinel knows the primary of " + service, null);
            }
            return primary;
        });
    }

    @Override
    public Node known(int slot) {
        return primary;
    }

    @Override
    public void doubt(Node node) {
        if (node == primary) {
            doubtful = true;
        }
    }

    @Override
    public void moved(int slot, Node node) {}

    /** Also while the node answers: it may be cut off from the others. */
    @Override
    public void look(Node node, boolean alive) {
        refresh(YOUNGEST);
    }

    @Override
    public CompletableFuture<List<Node>> primaries() {
        return node(0).thenApply(List::of);
    }

    @Override
    public void close() {
        Channel open = channel;
        if (open != null) {
            open.link.close("the client was closed");
        }
    }

    @Override
    CompletableFuture<?> ask() {
        return askOne(0);
    }

    private CompletableFuture<Boolean> askOne(int tried) {
        if (tried == sentinels.size()) {
            return CompletableFuture.completedFuture(false);
        }
        return soon(connected().thenCompose(
                        sentinel -> sentinel.ask(command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service))))
                .handle((answer, error) -> {
                    if (answer instanceof List<?> address && address.size() == 2) {
                        found(new Endpoint(Replies.text(address.get(0)), (int) Replies.number(address.get(1))));
                        return CompletableFuture.completedFuture(true);
                    }
                    Channel useless = channel;
                    channel = null;
                    if (useless != null) {
                        useless.link.close("it did not know the primary");
                    }
                    synchronized (sentinels) {
                        sentinels.add(sentinels.remove(0));
                    }
                    return askOne(tried + 1);
                })
                .thenCompose(next -> next);
    }

    private CompletableFuture<Channel> connected() {
        Channel open = channel;
        if (open != null && open.link.isOpen()) {
            return CompletableFuture.completedFuture(open);
        }
        Endpoint endpoint;
        synchronized (sentinels) {
            endpoint = sentinels.get(0);
        }
        return engine.open(endpoint, Purpose.SENTINEL, keys -> {}, () -> {}).thenApply(link -> {
            Channel fresh = new Channel(link);
            channel = fresh;
            return fresh;
        });
    }

    private void found(Endpoint named) {
        doubtful = false;
        Node node = engine.nodeAt(engine.connector.translate(named));
        Node old = primary;
        primary = node;
        if (old != null && old != node) {
            engine.forget(old, old.endpoint + " is not the primary any more");
        }
    }
}
