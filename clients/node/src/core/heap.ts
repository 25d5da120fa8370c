/** A queue that gives the item with the smallest time first. */
export class Heap<T extends { due: number }> {
    readonly #items: T[] = [];

    get first(): T | undefined {
        return this.#items[0];
    }

    push(item: T): void {
        const items = this.#items;
        let at = items.push(item) - 1;
        while (at > 0) {
            const parent = (at - 1) >> 1;
            const above = items[parent] as T;
            if (above.due <= item.due) break;
            items[at] = above;
            at = parent;
        }
        items[at] = item;
    }

    pop(): T | undefined {
        const items = this.#items;
        const first = items[0];
        const last = items.pop();
        if (last === undefined || items.length === 0) return first;
        let at = 0;
        for (;;) {
            let child = 2 * at + 1;
            if (child >= items.length) break;
            const right = items[child + 1];
            if (right !== undefined && right.due < (items[child] as T).due) child++;
            const below = items[child] as T;
            if (below.due >= last.due) break;
            items[at] = below;
            at = child;
        }
        items[at] = last;
        return first;
    }
}
