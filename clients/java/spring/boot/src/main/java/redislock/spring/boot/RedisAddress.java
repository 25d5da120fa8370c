package redislock.spring.boot;

import java.util.List;

/** Where the servers are, in the words of {@code spring.data.redis}. */
public final class RedisAddress {
    private String url;
    private String host = "localhost";
    private int port = 6379;
    private String username;
    private String password;
    private int database;
    private final Ssl ssl = new Ssl();
    private final Sentinel sentinel = new Sentinel();
    private final Cluster cluster = new Cluster();

    /** Makes the address localhost:6379. */
    public RedisAddress() {}

    /** Whether to use TLS. */
    public static final class Ssl {
        private boolean enabled;

        /** Makes a setting that is off. */
        public Ssl() {}

        /**
         * Whether to use TLS.
         *
         * @return false by default
         */
        public boolean isEnabled() {
            return enabled;
        }

        /**
         * Sets whether to use TLS.
         *
         * @param enabled whether to use it
         */
        public void setEnabled(boolean enabled) {
            this.enabled = enabled;
        }
    }

    /** The Sentinels, if there are any. */
    public static final class Sentinel {
        private String master;
        private List<String> nodes = List.of();
        private String username;
        private String password;

        /** Makes a setting without Sentinels. */
        public Sentinel() {}

        /**
         * The name by which the Sentinels know the servers.
         *
         * @return null if there are no Sentinels
         */
        public String getMaster() {
            return master;
        }

        /**
         * Sets the name by which the Sentinels know the servers.
         *
         * @param master the name
         */
        public void setMaster(String master) {
            this.master = master;
        }

        /**
         * The Sentinels.
         *
         * @return host:port of each
         */
        public List<String> getNodes() {
            return nodes;
        }

        /**
         * Sets the Sentinels.
         *
         * @param nodes host:port of each
         */
        public void setNodes(List<String> nodes) {
            this.nodes = nodes;
        }

        /**
         * The user at the Sentinels.
         *
         * @return null for the default user
         */
        public String getUsername() {
            return username;
        }

        /**
         * Sets the user at the Sentinels.
         *
         * @param username the user
         */
        public void setUsername(String username) {
            this.username = username;
        }

        /**
         * The password at the Sentinels.
         *
         * @return null if they want none
         */
        public String getPassword() {
            return password;
        }

        /**
         * Sets the password at the Sentinels.
         *
         * @param password the password
         */
        public void setPassword(String password) {
            this.password = password;
        }
    }

    /** The nodes of the cluster, if there is one. */
    public static final class Cluster {
        private List<String> nodes = List.of();

        /** Makes a setting without a cluster. */
        public Cluster() {}

        /**
         * Some nodes of the cluster.
         *
         * @return host:port of each
         */
        public List<String> getNodes() {
            return nodes;
        }

        /**
         * Sets some nodes of the cluster.
         *
         * @param nodes host:port of each
         */
        public void setNodes(List<String> nodes) {
            this.nodes = nodes;
        }
    }

    /**
     * The address of one server with everything in it.
     *
     * @return such as {@code rediss://user:password@host:port/database}, or null
     */
    public String getUrl() {
        return url;
    }

    /**
     * Sets the address of one server. Host, port, user, password, database and TLS are then taken from it.
     *
     * @param url the address
     */
    public void setUrl(String url) {
        this.url = url;
    }

    /**
     * The server.
     *
     * @return a name or an IP address
     */
    public String getHost() {
        return host;
    }

    /**
     * Sets the server.
     *
     * @param host a name or an IP address
     */
    public void setHost(String host) {
        this.host = host;
    }

    /**
     * The server's port.
     *
     * @return 6379 by default
     */
    public int getPort() {
        return port;
    }

    /**
     * Sets the server's port.
     *
     * @param port the port
     */
    public void setPort(int port) {
        this.port = port;
    }

    /**
     * The user.
     *
     * @return null for the default user
     */
    public String getUsername() {
        return username;
    }

    /**
     * Sets the user.
     *
     * @param username the user
     */
    public void setUsername(String username) {
        this.username = username;
    }

    /**
     * The password.
     *
     * @return null if the server wants none
     */
    public String getPassword() {
        return password;
    }

    /**
     * Sets the password.
     *
     * @param password the password
     */
    public void setPassword(String password) {
        this.password = password;
    }

    /**
     * The database.
     *
     * @return 0 by default
     */
    public int getDatabase() {
        return database;
    }

    /**
     * Sets the database. In a cluster there is only one.
     *
     * @param database the number
     */
    public void setDatabase(int database) {
        this.database = database;
    }

    /**
     * Whether to use TLS.
     *
     * @return the settings
     */
    public Ssl getSsl() {
        return ssl;
    }

    /**
     * The Sentinels.
     *
     * @return the settings
     */
    public Sentinel getSentinel() {
        return sentinel;
    }

    /**
     * The cluster.
     *
     * @return the settings
     */
    public Cluster getCluster() {
        return cluster;
    }
}
