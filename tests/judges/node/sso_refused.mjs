// What the tenant's SimpleSAMLphp says is not taken.
import { Application, closeBrowser } from './chromium.mjs';
import { check, judged } from './judge.mjs';
import { comes, isSentOn, showsWhoTheyAre } from './simplesamlphp.mjs';

const { tenant, name } = judged.connection;
const app = await Application.start(judged.app);

await check('somebody whom the provider knows is told that it did not work', async () => {
  const ada = await comes('ada@acme.example');
  await ada.goes(await app.begins({ tenant }));
  await isSentOn(ada, () => ada.presses(`Continue with ${name}`));
  await showsWhoTheyAre(ada, 'ada');
  await ada.sees('That sign-in did not work', { status: 403 });
  await ada.leaves();
});

app.stop();
await closeBrowser();
