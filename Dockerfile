# The image of docker-compose.yml's workers: the built package and its production dependencies, nothing else.

FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc tsconfig.json ./
# The image is Node 24 itself: the package `node` need not fetch another (its install script is what is left out).
RUN npm ci --include=dev --ignore-scripts
COPY LICENSE ./
COPY bin ./bin
COPY jobs ./jobs
COPY scripts ./scripts
COPY src ./src
COPY workers ./workers
# Not `npm run`: that would look for the repository's own Node first.
RUN ["node", "scripts/build.ts"]

FROM node:24-slim
ENV NODE_ENV=production
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --no-audit --no-fund && npm cache clean --force
COPY --from=build /app/dist ./dist
RUN ln -s /app/dist/bin/nightshift.js /usr/local/bin/nightshift && chmod +x dist/bin/nightshift.js \
  && mkdir /data && chown node:node /data
USER node
WORKDIR /data
CMD ["nightshift", "worker"]
