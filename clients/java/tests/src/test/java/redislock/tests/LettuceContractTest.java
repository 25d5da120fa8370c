package redislock.tests;

class LettuceContractTest extends ServerContract {
    @Override
    Library library() {
        return Library.LETTUCE;
    }
}
