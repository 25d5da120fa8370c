package redislock.driver;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;

/** Reads requests of the conformance suite, and writes answers and events. conformance/PROTOCOL.md is the contract. */
public final class Main {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final PrintStream output = System.out;

    private Main() {}

    /** The argument is the flavour: lettuce, jedis or fake. */
    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 1) {
            throw new IllegalArgumentException("the argument is lettuce, jedis or fake");
        }
        Warming.up(arguments[0]);
        Main main = new Main();
        Driver driver = new Driver(arguments[0], main::write);
        ExecutorService threads = Executors.newCachedThreadPool();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String line;
        while ((line = input.readLine()) != null) {
            JsonNode request = JSON.readTree(line);
            if ("block".equals(request.path("do").asText())) {
                main.serve(driver, request);
            } else {
                driver.announce(request);
                threads.execute(() -> main.serve(driver, request));
            }
        }
        // As an application that ends without closing anything.
        Runtime.getRuntime().halt(0);
    }

    private void serve(Driver driver, JsonNode request) {
        ObjectNode answer = JSON.createObjectNode();
        answer.set("id", request.get("id"));
        try {
            answer.set("ok", driver.act(request));
        } catch (Exception error) {
            ObjectNode failure = answer.putObject("error");
            failure.put("kind", Kinds.of(error));
            failure.put("message", error.getClass().getSimpleName() + ": " + error.getMessage());
        }
        write(answer);
    }

    private void write(ObjectNode line) {
        String text = line.toString();
        synchronized (output) {
            output.println(text);
            output.flush();
        }
    }
}
