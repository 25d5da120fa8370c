package redislock.internal;

import static redislock.internal.Request.command;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;

import redislock.spi.Deployment;
import redislock.spi.Endpoint;
import redislock.spi.LinkException;

/** Asks the nodes of a cluster which of them serves which slot. */
final class ClusterRouter extends Refreshed {
    private static final long YOUNGEST = 200;

    private volatile List<Endpoint> seeds;
    private volatile Node[] owners = new Node[Slots.COUNT];
    private volatile boolean known;

    /** Nodes that failed, so that others are asked first. */
    private final Set<Endpoint> doubted = ConcurrentHashMap.newKeySet();

    ClusterRouter(Engine engine, Deployment deployment) {
        super(engine);
        this.seeds = deployment.endpoints();
    }

    @Override
    public CompletableFuture<Node> node(int slot) {
        if (known && !doubtful && owners[slot] != null) {
            return CompletableFuture.completedFuture(owners[slot]);
        }
        return refresh(known ? engine.options.jitter().applyAsLong(YOUNGEST / 2, YOUNGEST) : 20).thenApply(done -> {
            if (owners[slot] == null) {
                doubtful = true;
                throw new LinkException("no node of the cluster is known to serve slot " + slot, null);
            }
            return owners[slot];
        });
    }

    @Override
    public Node known(int slot) {
        return owners[slot];
    }

    @Override
    public void doubt(Node node) {
        doubtful = true;
        doubted.add(node.endpoint);
    }

    @Override
    public void moved(int slot, Node node) {
        owners[slot] = node;
        doubtful = true;
    }

    @Override
    public void look(Node node, boolean alive) {
        if (!alive) {
            doubted.add(node.endpoint);
            refresh(engine.options.probeInterval().toMillis() / 2).thenAccept(done -> {
                if (known && !Arrays.asList(owners).contains(node)) {
                    engine.forget(node, node.endpoint + " is not a primary any more");
                }
            });
        }
    }

    @Override
    public CompletableFuture<List<Node>> primaries() {
        CompletableFuture<Void> ready = known && !doubtful ? CompletableFuture.completedFuture(null) : refresh(YOUNGEST);
        return ready.thenApply(done -> {
            List<Node> all = Arrays.stream(owners).filter(Objects::nonNull).distinct().toList();
            if (all.isEmpty()) {
                throw new LinkException("no node of the cluster is known", null);
            }
            return all;
        });
    }

    @Override
    CompletableFuture<?> ask() {
        List<Endpoint> nodes = new ArrayList<>();
        Arrays.stream(owners).filter(Objects::nonNull).distinct().forEach(node -> nodes.add(node.endpoint));
        Collections.shuffle(nodes);
        Set<Endpoint> candidates = new LinkedHashSet<>(nodes);
        candidates.addAll(seeds);
        List<Endpoint> order = new ArrayList<>(candidates);
        order.sort((a, b) -> Boolean.compare(doubted.contains(a), doubted.contains(b)));
        return askOne(order, 0);
    }

    private CompletableFuture<Boolean> askOne(List<Endpoint> candidates, int next) {
        if (next == candidates.size()) {
            return CompletableFuture.completedFuture(false);
        }
        Endpoint endpoint = candidates.get(next);
        return soon(engine.nodeAt(endpoint).channel().thenCompose(open -> open.ask(command("CLUSTER", "SLOTS"))))
                .handle((answer, error) -> {
                    if (answer instanceof List<?> ranges && !ranges.isEmpty()) {
                        learn(ranges, endpoint);
                        return CompletableFuture.completedFuture(true);
                    }
                    doubted.add(endpoint);
                    return askOne(candidates, next + 1);
                })
                .thenCompose(found -> found);
    }

    private void learn(List<?> ranges, Endpoint asked) {
        Node[] fresh = new Node[Slots.COUNT];
        Set<Endpoint> others = new LinkedHashSet<>();
        for (Object each : ranges) {
            List<?> range = Replies.list(each);
            for (int i = 2; i < range.size(); i++) {
                List<?> node = Replies.list(range.get(i));
                Endpoint endpoint = translate(node.get(0), (int) Replies.number(node.get(1)), asked);
                if (i == 2) {
                    int first = (int) Replies.number(range.get(0));
                    int last = (int) Replies.number(range.get(1));
                    Arrays.fill(fresh, first, last + 1, engine.nodeAt(endpoint));
                } else {
                    others.add(endpoint);
                }
            }
        }
        others.addAll(seeds);
        seeds = List.copyOf(others);
        owners = fresh;
        doubted.clear();
        doubtful = false;
        known = true;
    }

    /** A node that does not know its own address is at the one at which it was asked. */
    Endpoint translate(Object host, int port, Endpoint asked) {
        String name = host == null ? "" : Replies.text(host);
        return engine.connector.translate(new Endpoint(name.isEmpty() || name.equals("?") ? asked.host() : name, port));
    }
}
